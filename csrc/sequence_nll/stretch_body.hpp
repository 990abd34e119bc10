// The body of a StretchKernel. Whoever includes this has defined, for its instructions:
//   LANES           floats in a vector
//   WORDS           rows of weights in the register tile of the first product
//   WORD_TILES      such tiles in a block of the vocabulary
//   GROUP           tokens in the register tile of the second product
//   COLUMN_VECTORS  vectors of weights in it
#include "sequence_nll/float_types.hpp"
#include "sequence_nll/stretch.hpp"

namespace mmsrarec {
namespace {

using Vector = float __attribute__((vector_size(LANES * 4)));
using Bits = int32_t __attribute__((vector_size(LANES * 4)));
using Word = uint32_t __attribute__((vector_size(LANES * 4)));

constexpr int64_t kTokens =
    2 * LANES;  // tokens lie in the lanes: the softmax then needs no sum across a vector
constexpr int64_t kBlock = WORDS * WORD_TILES;
constexpr int64_t kGroups = kTokens / GROUP;
constexpr int64_t kColumns = COLUMN_VECTORS * LANES;
static_assert(kTokens % GROUP == 0 && kChunk % kColumns == 0);

// A peak is moved, and what was summed under it rescaled, only when a logit passes it by this much: exp(30)
// times any vocabulary is far from the largest float, and most tokens never need it (as in FlashAttention-4).
constexpr float kSlack = 30.0f;
constexpr float kInfinity = __builtin_inff();
constexpr float kNan = __builtin_nanf("");

Vector load(const float* from) { return *reinterpret_cast<const Vector*>(from); }
void store(float* to, Vector values) { *reinterpret_cast<Vector*>(to) = values; }
Vector all(float value) { return value - Vector{}; }

int64_t padded(int64_t count, int64_t multiple) { return (count + multiple - 1) / multiple * multiple; }

// exp(x) for x up to 80, 0 below -87 (so that no product meets a denormal), NaN for NaN. Reduction by ln 2 in
// two parts and the polynomial of Cephes' expf; off by at most 2 units in the last place.
inline Vector exponential(Vector x) {
    const Vector lowest = all(-87.0f);
    const Bits vanishes = x < lowest;
    x = x < lowest ? lowest : x;
    const Vector shifted = x * 1.44269504f + 12582912.0f;  // 1.5 · 2²³: rounds to a whole number
    const Vector whole = shifted - 12582912.0f;
    Vector r = x - whole * 0.693359375f;
    r = r + whole * 2.12194440e-4f;
    Vector p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + (r + 1.0f);
    const Word power = (reinterpret_cast<Word>(shifted) << 23) + (127u << 23);
    const Vector result = p * reinterpret_cast<Vector>(power);
    return reinterpret_cast<Vector>(reinterpret_cast<Bits>(result) & ~vanishes);
}

// Near 0, where 1 - 2 / (exp(2x) + 1) would lose digits, the series of tanh.
inline Vector hyperbolic_tangent(Vector x) {
    const Bits sign = reinterpret_cast<Bits>(x) & INT32_MIN;
    Vector y = reinterpret_cast<Vector>(reinterpret_cast<Bits>(x) & INT32_MAX);
    y = y > 20.0f ? all(20.0f) : y;
    const Vector square = y * y;
    Vector series = square * (62.0f / 2835.0f) - 17.0f / 315.0f;
    series = series * square + 2.0f / 15.0f;
    series = series * square - 1.0f / 3.0f;
    series = series * square * y + y;
    const Vector far = 1.0f - 2.0f / (exponential(2.0f * y) + 1.0f);
    const Vector result = y < 0.25f ? series : far;
    return reinterpret_cast<Vector>(reinterpret_cast<Bits>(result) | sign);
}

bool any(Bits mask) {
    int32_t found = 0;
    for (int64_t lane = 0; lane < LANES; ++lane) found |= mask[lane];
    return found != 0;
}

// Copies `count` numbers of a matrix's row, from `column` on, as float32.
void copy_row(const MatrixView& matrix, int64_t row, int64_t column, int64_t count, float* to) {
    const int64_t start = row * matrix.row_stride + column * matrix.column_stride;
    const int64_t step = matrix.column_stride;
    if (matrix.type == Float::kFloat32) {
        const float* from = static_cast<const float*>(matrix.data) + start;
        if (step == 1) {
            __builtin_memcpy(to, from, static_cast<size_t>(count) * sizeof(float));
        } else {
            for (int64_t i = 0; i < count; ++i) to[i] = from[i * step];
        }
        return;
    }
    const uint16_t* from = static_cast<const uint16_t*>(matrix.data) + start;
    if (matrix.type == Float::kBfloat16) {
        for (int64_t i = 0; i < count; ++i) to[i] = number(from[i * step], Float::kBfloat16);
    } else {
        for (int64_t i = 0; i < count; ++i) to[i] = number(from[i * step], Float::kFloat16);
    }
}

struct Scratch {
    float* hidden;    // [panel of kTokens][width][kTokens]
    float* weight;    // [chunk][kBlock][kChunk]
    float* block;     // [kBlock][kTokens]: logits of a panel, then their exponentials
    float* gradient;  // [tokens][padded width]
    float* row;       // [kChunk]
    float* peak;      // [tokens]
    float* sum;       // [tokens]
};

int64_t scratch_numbers(int64_t tokens, int64_t width, bool gradient) {
    const int64_t lanes = padded(tokens, kTokens), wide = padded(width, kChunk);
    return lanes * width + wide * kBlock + kBlock * kTokens + kChunk + 2 * lanes +
           (gradient ? lanes * wide : 0);
}

Scratch lay_out(const Stretch& stretch) {
    const int64_t lanes = padded(stretch.last_token - stretch.first_token, kTokens);
    const int64_t width = stretch.input->hidden.columns, wide = padded(width, kChunk);
    Scratch made{};
    float* next = stretch.scratch;
    const auto take = [&next](int64_t numbers) {
        float* const here = next;
        next += numbers;
        return here;
    };
    made.weight = take(wide * kBlock);
    made.block = take(kBlock * kTokens);
    made.row = take(kChunk);
    made.peak = take(lanes);
    made.sum = take(lanes);
    made.hidden = take(lanes * width);
    made.gradient = stretch.running.gradient ? take(lanes * wide) : nullptr;
    for (int64_t i = 0; i < lanes; ++i) {
        made.peak[i] = -kInfinity;
        made.sum[i] = 0;
    }
    if (made.gradient) __builtin_memset(made.gradient, 0, static_cast<size_t>(lanes * wide) * sizeof(float));
    return made;
}

// Turns the hidden states so that tokens lie in the lanes; missing tokens of the last panel are 0.
void pack_hidden(const Stretch& stretch, const Scratch& scratch) {
    const MatrixView& hidden = stretch.input->hidden;
    const int64_t tokens = stretch.last_token - stretch.first_token, width = hidden.columns;
    __builtin_memset(scratch.hidden, 0, static_cast<size_t>(padded(tokens, kTokens) * width) * sizeof(float));
    for (int64_t token = 0; token < tokens; ++token) {
        float* to = scratch.hidden + token / kTokens * kTokens * width + token % kTokens;
        for (int64_t first = 0; first < width; first += kChunk) {
            const int64_t count = width - first < kChunk ? width - first : kChunk;
            copy_row(hidden, stretch.first_token + token, first, count, scratch.row);
            for (int64_t i = 0; i < count; ++i) to[(first + i) * kTokens] = scratch.row[i];
        }
    }
}

void pack_weight(const MatrixView& weight, int64_t first_word, int64_t words, float* to) {
    for (int64_t first = 0; first < weight.columns; first += kChunk, to += kBlock * kChunk) {
        const int64_t count = weight.columns - first < kChunk ? weight.columns - first : kChunk;
        if (words < kBlock || count < kChunk) __builtin_memset(to, 0, kBlock * kChunk * sizeof(float));
        for (int64_t word = 0; word < words; ++word) {
            copy_row(weight, first_word + word, first, count, to + word * kChunk);
        }
    }
}

// block[WORDS][kTokens] = weight[WORDS][width] · hidden[width][kTokens].
inline void logits_tile(const float* weight, const float* hidden, int64_t width, float* block) {
    Vector left[WORDS], right[WORDS];
#pragma GCC unroll 16
    for (int64_t word = 0; word < WORDS; ++word) left[word] = right[word] = Vector{};
    for (int64_t first = 0; first < width; first += kChunk, weight += kBlock * kChunk) {
        const int64_t count = width - first < kChunk ? width - first : kChunk;
        for (int64_t i = 0; i < count; ++i, hidden += kTokens) {
            const Vector a = load(hidden), b = load(hidden + LANES);
#pragma GCC unroll 16
            for (int64_t word = 0; word < WORDS; ++word) {
                const float w = weight[word * kChunk + i];
                left[word] += a * w;
                right[word] += b * w;
            }
        }
    }
#pragma GCC unroll 16
    for (int64_t word = 0; word < WORDS; ++word) {
        store(block + word * kTokens, left[word]);
        store(block + word * kTokens + LANES, right[word]);
    }
}

// gradient[GROUP][kColumns] += exponentials[n words][GROUP] · weight[n words][kColumns], words by list.
inline void gradient_tile(const float* exponentials, const float* weight, const int32_t* words, int64_t n,
                          float* gradient, int64_t stride) {
    Vector sums[GROUP][COLUMN_VECTORS];
#pragma GCC unroll 16
    for (int64_t token = 0; token < GROUP; ++token) {
#pragma GCC unroll 16
        for (int64_t part = 0; part < COLUMN_VECTORS; ++part) {
            sums[token][part] = load(gradient + token * stride + part * LANES);
        }
    }
    for (int64_t i = 0; i < n; ++i) {
        const int64_t word = words[i];
        Vector row[COLUMN_VECTORS];
#pragma GCC unroll 16
        for (int64_t part = 0; part < COLUMN_VECTORS; ++part)
            row[part] = load(weight + word * kChunk + part * LANES);
#pragma GCC unroll 16
        for (int64_t token = 0; token < GROUP; ++token) {
            const float e = exponentials[word * kTokens + token];
#pragma GCC unroll 16
            for (int64_t part = 0; part < COLUMN_VECTORS; ++part) sums[token][part] += row[part] * e;
        }
    }
#pragma GCC unroll 16
    for (int64_t token = 0; token < GROUP; ++token) {
#pragma GCC unroll 16
        for (int64_t part = 0; part < COLUMN_VECTORS; ++part) {
            store(gradient + token * stride + part * LANES, sums[token][part]);
        }
    }
}

// The words of a block that `GROUP` tokens need for their gradient.
struct Needed {
    int32_t words[kGroups][kBlock];
    int32_t n[kGroups];
};

void need_all(Needed& needed, int64_t words) {
    for (int64_t group = 0; group < kGroups; ++group) {
        needed.n[group] = static_cast<int32_t>(words);
        for (int64_t word = 0; word < words; ++word) needed.words[group][word] = static_cast<int32_t>(word);
    }
}

// Moves a peak to the block's largest logit where that is far above it, and rescales what was summed.
void move_peaks(const Scratch& scratch, int64_t token, Vector largest, int64_t stride) {
    for (int64_t lane = 0; lane < LANES; ++lane) {
        float& peak = scratch.peak[token + lane];
        if (!(largest[lane] > peak + kSlack)) continue;
        const float factor = exponential(all(peak - largest[lane]))[0];
        peak = largest[lane];
        scratch.sum[token + lane] *= factor;
        if (!scratch.gradient) continue;
        float* row = scratch.gradient + (token + lane) * stride;
        for (int64_t i = 0; i < stride; ++i) row[i] *= factor;
    }
}

// Makes logits of a token that met +inf into 0 for +inf and -inf for the rest; NaN stays.
void reduce_to_infinite(float* logits, int64_t words) {
    for (int64_t word = 0; word < words; ++word) {
        float& logit = logits[word * kTokens];
        if (logit == logit) logit = logit == kInfinity ? 0 : -kInfinity;
    }
}

// Adds a block of logits, one vector of tokens, to the running softmax; leaves exp(logit - peak) in its
// place, times the softcap's derivative.
void absorb(const TokenNllInput& input, const Scratch& scratch, int64_t token, float* block, int64_t words,
            int64_t stride) {
    Vector largest = all(-kInfinity);
    for (int64_t word = 0; word < words; ++word) {
        const Vector logit = load(block + word * kTokens);
        largest = logit > largest ? logit : largest;
    }
    const Vector before = load(scratch.peak + token);
    if (any(largest > before + kSlack)) move_peaks(scratch, token, largest, stride);
    Vector shift = load(scratch.peak + token);
    if (any(shift == kInfinity)) {
        for (int64_t lane = 0; lane < LANES; ++lane) {
            if (shift[lane] == kInfinity) reduce_to_infinite(block + lane, words);
        }
    }
    // A token of infinite peak, of either sign, has nothing to be shifted by.
    shift = (shift == -kInfinity) | (shift == kInfinity) ? Vector{} : shift;
    const float slope = input.softcap > 0 ? 1.0f / input.softcap : 0.0f;
    Vector sum{};
    for (int64_t word = 0; word < words; ++word) {
        const Vector logit = load(block + word * kTokens);
        const Vector e = exponential(logit - shift);
        sum += e;
        if (!scratch.gradient) continue;
        const Vector bent = logit * slope;
        store(block + word * kTokens, slope > 0 ? e * (1.0f - bent * bent) : e);
    }
    store(scratch.sum + token, load(scratch.sum + token) + sum);
}

// Lists the words of which one of a group's probabilities may reach `skip_below`. The sum so far is at most
// the whole one, so a probability is never taken for smaller than it is.
void need_likely(const Scratch& scratch, int64_t token, int64_t words, float skip_below, Needed& needed) {
    constexpr int64_t kBoth = 2;
    const Vector least[kBoth] = {load(scratch.sum + token) * skip_below,
                                 load(scratch.sum + token + LANES) * skip_below};
    for (int64_t group = 0; group < kGroups; ++group) needed.n[group] = 0;
    for (int64_t word = 0; word < words; ++word) {
        Bits likely[kBoth];
        for (int64_t half = 0; half < kBoth; ++half) {
            likely[half] = ~(load(scratch.block + word * kTokens + half * LANES) < least[half]);
        }
        int64_t pairs[kTokens / 2];
        __builtin_memcpy(pairs, likely, sizeof pairs);
        for (int64_t group = 0; group < kGroups; ++group) {
            int64_t found = 0;
            for (int64_t i = 0; i < GROUP / 2; ++i) found |= pairs[group * (GROUP / 2) + i];
            needed.words[group][needed.n[group]] = static_cast<int32_t>(word);
            needed.n[group] += found != 0;
        }
    }
}

void bend(float* block, int64_t words, float softcap) {
    for (int64_t i = 0; i < words * kTokens; i += LANES) {
        store(block + i, softcap * hyperbolic_tangent(load(block + i) / softcap));
    }
}

void run_panel(const Stretch& stretch, const Scratch& scratch, int64_t token, int64_t first_word,
               int64_t words, Needed& needed) {
    const TokenNllInput& input = *stretch.input;
    const int64_t width = input.hidden.columns, stride = padded(width, kChunk);
    for (int64_t word = 0; word < words; word += WORDS) {
        logits_tile(scratch.weight + word * kChunk, scratch.hidden + token * width, width,
                    scratch.block + word * kTokens);
    }
    if (input.softcap > 0) bend(scratch.block, words, input.softcap);
    const int64_t left = stretch.last_token - stretch.first_token - token;
    for (int64_t i = 0; i < (left < kTokens ? left : kTokens); ++i) {
        const int64_t word = input.targets[stretch.first_token + token + i] - first_word;
        if (word < 0 || word >= words) continue;
        stretch.running.at_target[token + i] = scratch.block[word * kTokens + i];
    }
    absorb(input, scratch, token, scratch.block, words, stride);
    absorb(input, scratch, token + LANES, scratch.block + LANES, words, stride);
    if (!scratch.gradient) return;
    if (input.skip_below > 0) need_likely(scratch, token, words, input.skip_below, needed);
    // Columns outside: a block's words of these few columns then stay in the first cache for all the groups.
    for (int64_t column = 0; column < width; column += kColumns) {
        const float* weight = scratch.weight + column / kChunk * kChunk * kBlock + column % kChunk;
        for (int64_t group = 0; group < kGroups; ++group) {
            gradient_tile(scratch.block + group * GROUP, weight, needed.words[group], needed.n[group],
                          scratch.gradient + (token + group * GROUP) * stride + column, stride);
        }
    }
}

void run(const Stretch& stretch) {
    const Scratch scratch = lay_out(stretch);
    const MatrixView& weight = stretch.input->weight;
    const int64_t tokens = stretch.last_token - stretch.first_token, width = weight.columns;
    pack_hidden(stretch, scratch);
    Needed needed;
    for (int64_t first = stretch.first_word; first < stretch.last_word; first += kBlock) {
        const int64_t left = stretch.last_word - first, words = left < kBlock ? left : kBlock;
        pack_weight(weight, first, words, scratch.weight);
        need_all(needed, words);
        for (int64_t token = 0; token < tokens; token += kTokens) {
            run_panel(stretch, scratch, token, first, words, needed);
        }
    }
    for (int64_t token = 0; token < tokens; ++token) {
        stretch.running.peak[token] = scratch.peak[token];
        stretch.running.sum[token] = scratch.sum[token];
        if (!scratch.gradient) continue;
        __builtin_memcpy(stretch.running.gradient + token * width,
                         scratch.gradient + token * padded(width, kChunk),
                         static_cast<size_t>(width) * sizeof(float));
    }
}

}  // namespace
}  // namespace mmsrarec
