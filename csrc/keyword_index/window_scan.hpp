// Reading and clearing the sums of a stretch of positions, by the widest vectors that this machine has.
#pragma once

#include <cstdint>

namespace mmsrarec {

// Of `count` sums, a multiple of 64, finds those of at least `threshold`: writes their places and values, in
// ascending order of place, and returns how many. `places` and `values` have room for `count`. All sums are 0
// afterwards.
int32_t take_at_least(float* sums, int32_t count, float threshold, uint16_t* places, float* values) noexcept;

// "avx512f", "avx2" or "plain": which instructions it uses.
const char* vector_instructions() noexcept;

}  // namespace mmsrarec
