// Compiled for AVX-512; called only where it is.
#define LANES 16
#define WORDS 14
#define WORD_TILES 8
#define GROUP 4
#define COLUMN_VECTORS 4
#include "sequence_nll/stretch_body.hpp"

namespace mmsrarec {
const StretchKernel kAvx512Stretch{"avx512f", kTokens, kBlock, scratch_numbers, run};
}
