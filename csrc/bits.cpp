#include "bits.hpp"

#include <bit>
#include <cstring>

#if defined(__x86_64__) && defined(__GNUC__)
#define MMSRAREC_X86 1
#include <immintrin.h>
#endif

namespace mmsrarec {
namespace {

#ifdef __GNUC__
#define MMSRAREC_INLINE __attribute__((always_inline)) inline
#else
#define MMSRAREC_INLINE inline
#endif

MMSRAREC_INLINE int64_t count(const uint64_t* words, int64_t n_bits) {
    int64_t n = 0;
    for (int64_t word = 0; word < n_bits >> 6; ++word) n += std::popcount(words[word]);
    if (n_bits & 63) n += std::popcount(words[n_bits >> 6] & ((uint64_t{1} << (n_bits & 63)) - 1));
    return n;
}

int64_t count_plain(const uint64_t* words, int64_t n_bits) { return count(words, n_bits); }

#ifdef MMSRAREC_X86
__attribute__((target("popcnt"))) int64_t count_popcnt(const uint64_t* words, int64_t n_bits) {
    return count(words, n_bits);
}
const auto kCount = __builtin_cpu_supports("popcnt") ? count_popcnt : count_plain;
#else
const auto kCount = count_plain;
#endif

#ifdef MMSRAREC_X86
uint64_t gather_word(const bool* flags) {
    uint64_t word = 0;
    for (int i = 0; i < 4; ++i) {
        const __m128i part = _mm_loadu_si128(reinterpret_cast<const __m128i*>(flags) + i);
        const int set = _mm_movemask_epi8(_mm_slli_epi16(part, 7));
        word |= static_cast<uint64_t>(set) << (16 * i);
    }
    return word;
}
#else
uint64_t gather_word(const bool* flags) {
    uint64_t word = 0;
    if constexpr (std::endian::native == std::endian::little) {
        // Eight flags, each a byte of 0 or 1, become eight bits: the product moves bit 8 i to bit 56 + i.
        constexpr uint64_t kGather = 0x0102040810204080;
        for (int byte = 0; byte < 8; ++byte) {
            uint64_t eight;
            std::memcpy(&eight, flags + 8 * byte, 8);
            word |= (eight * kGather >> 56) << (8 * byte);
        }
    } else {
        for (int i = 0; i < 64; ++i) word |= uint64_t{flags[i]} << i;
    }
    return word;
}
#endif

}  // namespace

void gather_bits(const bool* flags, int64_t n_flags, uint64_t* words) noexcept {
    int64_t i = 0;
    for (; i + 64 <= n_flags; i += 64) words[i / 64] = gather_word(flags + i);
    for (; i < n_flags; ++i) {
        if (flags[i]) set_bit(words, i);
    }
}

int64_t count_bits(const uint64_t* words, int64_t n_bits) noexcept { return kCount(words, n_bits); }

}  // namespace mmsrarec
