// One stretch of tokens against one stretch of the vocabulary: the unit of work of token_nll, made once for
// each set of vector instructions from stretch_body.hpp.
//
// The files that include stretch_body.hpp are compiled for instructions which a machine may lack. They use no
// inline function of the standard library: the linker keeps one copy of such a function for the whole module,
// and it could be theirs.
#pragma once

#include <cstdint>

#include "sequence_nll/token_nll.hpp"

namespace mmsrarec {

// Weights are copied in chunks of this many columns: rows of a chunk have a stride known to the compiler, so
// that one address serves all the rows of a register tile.
constexpr int64_t kChunk = 64;

// Running softmax of each token, in units of exp(peak): what online log-sum-exp carries.
struct Running {
    float* peak;       // largest logit so far, or up to kSlack less
    float* sum;        // of exp(logit - peak)
    float* at_target;  // the target's logit; left alone where the target is in another stretch
    float* gradient;   // sum of exp(logit - peak) · weight row, (tokens, width); null where none is wanted
};

struct Stretch {
    const TokenNllInput* input;
    int64_t first_token, last_token;
    int64_t first_word, last_word;
    Running running;  // of the stretch's tokens, the first at [0]
    float* scratch;   // scratch_numbers(...) of them, aligned to 64 bytes
};

struct StretchKernel {
    const char* name;
    int64_t tokens_at_once;  // a stretch's tokens are padded to a multiple
    int64_t words_at_once;
    int64_t (*scratch_numbers)(int64_t tokens, int64_t width, bool gradient);
    void (*run)(const Stretch&);
};

extern const StretchKernel kPlainStretch;
#if defined(__x86_64__) && defined(__GNUC__)
#define MMSRAREC_X86 1
extern const StretchKernel kAvx2Stretch;
extern const StretchKernel kAvx512Stretch;
#endif

}  // namespace mmsrarec
