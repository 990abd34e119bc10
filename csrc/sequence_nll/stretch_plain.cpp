// Vectors of 16 bytes, which every 64-bit processor has.
#define LANES 4
#define WORDS 4
#define WORD_TILES 24
#define GROUP 4
#define COLUMN_VECTORS 2
#include "sequence_nll/stretch_body.hpp"

namespace mmsrarec {
const StretchKernel kPlainStretch{"plain", kTokens, kBlock, scratch_numbers, run};
}
