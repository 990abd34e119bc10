// XXH64, the checksum of stored sections: a published 64-bit hash that runs at memory speed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace mmsrarec {

// XXH64 with seed 0 of `bytes`.
uint64_t checksum(std::span<const std::byte> bytes);

}  // namespace mmsrarec
