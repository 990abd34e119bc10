// Says that an address will be read soon.
#pragma once

namespace mmsrarec {

inline void prefetch(const void* address) {
#ifdef __GNUC__
    __builtin_prefetch(address);
#else
    (void)address;
#endif
}

}  // namespace mmsrarec
