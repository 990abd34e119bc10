// Bits of an array of words: bit i is words[i / 64], bit i % 64.
#pragma once

#include <cstdint>

namespace mmsrarec {

inline bool has_bit(const uint64_t* words, int64_t i) { return (words[i >> 6] >> (i & 63)) & 1; }
inline void set_bit(uint64_t* words, int64_t i) { words[i >> 6] |= uint64_t{1} << (i & 63); }
inline void clear_bit(uint64_t* words, int64_t i) { words[i >> 6] &= ~(uint64_t{1} << (i & 63)); }

// How many of the first `n_bits` bits are set, by the machine's own instruction where it has one.
int64_t count_bits(const uint64_t* words, int64_t n_bits) noexcept;

// Sets bit i where flag i is set; the words are 0 before.
void gather_bits(const bool* flags, int64_t n_flags, uint64_t* words) noexcept;

}  // namespace mmsrarec
