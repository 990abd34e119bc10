#include "sequence_nll/token_nll.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "errors.hpp"
#include "parallel.hpp"
#include "sequence_nll/float_types.hpp"
#include "sequence_nll/stretch.hpp"

namespace mmsrarec {
namespace {

// Tokens of one unit of work: enough that copying the weights for them costs little, few enough that several
// threads end together and that what is touched stays near the core.
constexpr int64_t kStretchTokens = 256;

// Multiply-adds worth one more thread: about a millisecond. Less than that is done where it is asked for, as
// starting a thread on a busy machine can take longer.
constexpr int64_t kWorthAThread = int64_t{1} << 26;

const StretchKernel* choose(const char* wanted) {
    const auto fits = [wanted](const StretchKernel& kernel) {
        return wanted == nullptr || std::strcmp(wanted, kernel.name) == 0;
    };
#ifdef MMSRAREC_X86
    if (__builtin_cpu_supports("avx512f") && fits(kAvx512Stretch)) return &kAvx512Stretch;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && fits(kAvx2Stretch))
        return &kAvx2Stretch;
#endif
    return fits(kPlainStretch) ? &kPlainStretch : nullptr;
}

const StretchKernel* chosen = choose(nullptr);

struct Free {
    void operator()(float* memory) const { ::operator delete[](memory, std::align_val_t{64}); }
};
using Aligned = std::unique_ptr<float, Free>;

Aligned allocate(int64_t numbers) {
    return Aligned(static_cast<float*>(
        ::operator new[](static_cast<size_t>(numbers) * sizeof(float), std::align_val_t{64})));
}

int64_t divide_up(int64_t whole, int64_t part) { return (whole + part - 1) / part; }

// How tokens and vocabulary are cut. With few tokens the vocabulary is cut as well, so that every thread has
// work.
struct Plan {
    int64_t stretch_tokens, token_parts, part_words, word_parts;
};

Plan plan_for(int64_t tokens, int64_t words, int64_t threads, const StretchKernel& kernel) {
    Plan plan{};
    const int64_t share =
        divide_up(divide_up(tokens, threads), kernel.tokens_at_once) * kernel.tokens_at_once;
    plan.stretch_tokens = std::min(share, kStretchTokens);
    plan.token_parts = divide_up(tokens, plan.stretch_tokens);
    const int64_t wanted = divide_up(threads, plan.token_parts);
    const int64_t blocks = divide_up(words, kernel.words_at_once);
    plan.part_words = divide_up(blocks, std::min(wanted, blocks)) * kernel.words_at_once;
    plan.word_parts = divide_up(words, plan.part_words);
    return plan;
}

float element(const MatrixView& matrix, int64_t row, int64_t column) {
    const int64_t place = row * matrix.row_stride + column * matrix.column_stride;
    if (matrix.type == Float::kFloat32) return static_cast<const float*>(matrix.data)[place];
    return number(static_cast<const uint16_t*>(matrix.data)[place], matrix.type);
}

// Joins the parts of the vocabulary for one token, and turns sums into its nll and gradient.
void finish(const TokenNllInput& input, const TokenNllOutput& output, const std::vector<Running>& parts,
            int64_t token) {
    float peak = -std::numeric_limits<float>::infinity();
    for (const Running& part : parts) peak = std::max(peak, part.peak[token]);
    const auto factor = [peak, token](const Running& part) {
        return part.peak[token] == peak ? 1.0f : std::exp(part.peak[token] - peak);
    };
    float sum = 0;
    for (const Running& part : parts) sum += part.sum[token] * factor(part);
    const float log_sum = peak + std::log(sum);
    const float at_target = parts.front().at_target[token];
    output.log_sum[token] = log_sum;
    output.nll[token] = log_sum - at_target;
    if (!output.gradient) return;
    const int64_t width = input.hidden.columns;
    const float scale = std::isfinite(log_sum) ? 1.0f / sum : std::numeric_limits<float>::quiet_NaN();
    const float bent = input.softcap > 0 ? at_target / input.softcap : 0.0f;
    const float slope = 1.0f - bent * bent;
    float* row = output.gradient + token * width;
    // The first part has written where the result goes.
    for (int64_t i = 0; i < width; ++i) {
        float value = 0;
        for (const Running& part : parts) value += part.gradient[token * width + i] * factor(part);
        row[i] = value * scale - slope * element(input.weight, input.targets[token], i);
    }
}

}  // namespace

void token_nll(const TokenNllInput& input, const TokenNllOutput& output, int64_t threads, const Poll& poll) {
    const int64_t tokens = input.hidden.rows, width = input.hidden.columns, words = input.weight.rows;
    for (int64_t token = 0; token < tokens; ++token) {
        const int64_t target = input.targets[token];
        if (target >= 0 && target < words) continue;
        throw InputError("targets must lie in [0, " + std::to_string(words) + "), got " +
                         std::to_string(target) + ".");
    }
    if (tokens == 0) return;
    const StretchKernel& kernel = *chosen;
    const int64_t work = tokens * width * words;
    threads = std::clamp<int64_t>(work / kWorthAThread, 1, threads);
    const Plan plan = plan_for(tokens, words, threads, kernel);
    const int64_t units = plan.token_parts * plan.word_parts;
    threads = std::min(threads, units);
    const int64_t scratch_numbers =
        divide_up(kernel.scratch_numbers(plan.stretch_tokens, width, output.gradient != nullptr), 16) * 16;
    const Aligned scratch = allocate(threads * scratch_numbers);
    const Aligned softmax = allocate((2 * plan.word_parts + 1) * tokens);
    const int64_t more = output.gradient ? (plan.word_parts - 1) * tokens * width : 0;
    const Aligned gradients = allocate(more);
    std::vector<Running> parts;
    for (int64_t part = 0; part < plan.word_parts; ++part) {
        parts.push_back({softmax.get() + (2 * part + 1) * tokens, softmax.get() + (2 * part + 2) * tokens,
                         softmax.get(),
                         part == 0 || !output.gradient ? output.gradient
                                                       : gradients.get() + (part - 1) * tokens * width});
    }
    const auto run = [&](int64_t thread, int64_t unit) {
        const int64_t first = unit % plan.token_parts * plan.stretch_tokens, part = unit / plan.token_parts;
        const Running& whole = parts[static_cast<size_t>(part)];
        kernel.run({&input,
                    first,
                    std::min(first + plan.stretch_tokens, tokens),
                    part * plan.part_words,
                    std::min((part + 1) * plan.part_words, words),
                    {whole.peak + first, whole.sum + first, whole.at_target + first,
                     whole.gradient ? whole.gradient + first * width : nullptr},
                    scratch.get() + thread * scratch_numbers});
    };
    if (work < kWorthAThread) {
        for (int64_t unit = 0; unit < units; ++unit) run(0, unit);
    } else {
        run_polled(units, 1, threads, poll, run);
    }
    for (int64_t token = 0; token < tokens; ++token) finish(input, output, parts, token);
}

const char* token_nll_instructions() noexcept { return chosen->name; }

bool use_token_nll_instructions(const char* name) noexcept {
    const StretchKernel* const wanted = choose(name);
    if (wanted != nullptr) chosen = wanted;
    return wanted != nullptr;
}

}  // namespace mmsrarec
