// Negative log-likelihood of tokens under softmax(hidden · weightᵀ), and its gradient to `hidden`, without
// the logits: a fused product and online softmax over blocks that stay in a core's second cache.
#pragma once

#include <cstdint>

#include "poll.hpp"

namespace mmsrarec {

enum class Float : uint8_t { kFloat32, kBfloat16, kFloat16 };

// A matrix of any float type, read through two strides, counted in elements.
struct MatrixView {
    const void* data;
    Float type;
    int64_t rows;
    int64_t columns;
    int64_t row_stride;
    int64_t column_stride;
};

struct TokenNllInput {
    MatrixView hidden;       // (tokens, width)
    MatrixView weight;       // (vocabulary, width)
    const int64_t* targets;  // (tokens), each in [0, vocabulary)
    float softcap;           // logits become softcap · tanh(logits / softcap); 0 leaves them alone
    float skip_below;        // probabilities below it may be left out of the gradient; 0 is exact
};

struct TokenNllOutput {
    float* nll;       // (tokens)
    float* log_sum;   // (tokens), the logarithm of the sum of exponentials
    float* gradient;  // (tokens, width), of each token's nll to its hidden state; null where none is wanted
};

// NaN and infinities reach the output as they would through torch's logsumexp. Throws InputError for a target
// that is no row of `weight`, and what `poll` throws.
void token_nll(const TokenNllInput& input, const TokenNllOutput& output, int64_t threads, const Poll& poll);

// "avx512f", "avx2" or "plain": which instructions it uses.
const char* token_nll_instructions() noexcept;

// Uses the named instructions from now on, for tests; false if this machine lacks them.
bool use_token_nll_instructions(const char* name) noexcept;

}  // namespace mmsrarec
