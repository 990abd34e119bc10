// Compiled for AVX2 and FMA; called only where they are.
#define LANES 8
#define WORDS 6
#define WORD_TILES 16
#define GROUP 4
#define COLUMN_VECTORS 2
#include "sequence_nll/stretch_body.hpp"

namespace mmsrarec {
const StretchKernel kAvx2Stretch{"avx2", kTokens, kBlock, scratch_numbers, run};
}
