// The three rewards of keyword lists and their group-relative advantage, a group at a time.
#pragma once

#include <array>
#include <cstdint>

#include "poll.hpp"

namespace mmsrarec {

enum class Reconstruction : uint8_t { kPerplexity, kNll, kClipped };

struct GroupRewardInput {
    const float* keyword_embedding;  // (rows, width)
    const float* text_embedding;     // (rows, width)
    const float* nll;                // (rows)
    const float* length;             // (rows)
    int64_t rows;                    // a multiple of group_size
    int64_t width;
    int64_t group_size;
    std::array<float, 3> weights;
    Reconstruction reconstruction;
    float clip;
    double epsilon;
};

struct GroupRewardOutput {  // each (rows)
    float* information;
    float* reconstruction;
    float* length;
    float* total;
    float* advantage;
};

// NaN reaches the output; throws what `poll` throws.
void group_reward(const GroupRewardInput& input, const GroupRewardOutput& output, int64_t threads,
                  const Poll& poll);

}  // namespace mmsrarec
