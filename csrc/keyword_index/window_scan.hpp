// Bounds of the scores of a stretch of positions, by the widest vectors that this machine has. A bound is a
// whole number of levels, one byte; sums of levels stop at 255.
#pragma once

#include <cstdint>
#include <span>

namespace mmsrarec {

constexpr int32_t kMostLevel = 255;

// A bit for each position, and the levels that a position with the bit has more.
struct LevelledBits {
    const uint64_t* bits;
    uint8_t level;
};

// Positions [first, first + count) of the arrays, both a multiple of 256.
struct Stretch {
    int32_t first;
    int32_t count;
    uint8_t* levels;
    std::span<const LevelledBits> lists;
    const uint64_t* chosen;  // bits of the positions that are wanted; null: all
};

// Finds the wanted positions whose levels, those of the lists added, are at least `threshold`, 1 or more:
// writes their places and levels, in ascending order of place, and returns how many. `places` and `reached`
// have room for `count`. All levels are 0 afterwards.
int32_t take_at_least(const Stretch& stretch, uint8_t threshold, uint16_t* places, uint8_t* reached) noexcept;

// "avx512bw", "avx2" or "plain": which instructions it uses.
const char* vector_instructions() noexcept;

}  // namespace mmsrarec
