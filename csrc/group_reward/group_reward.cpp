#include "group_reward/group_reward.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "parallel.hpp"

namespace mmsrarec {
namespace {

constexpr float kLargest = std::numeric_limits<float>::max();

// Numbers worth one more thread: some milliseconds. Below, waiting until a busy processor starts the thread
// can take longer than the work, which runs at the speed of memory anyway.
constexpr int64_t kWorthAThread = 1 << 24;

// Unlike std::min and std::max these let NaN pass, whichever side it is on.
float at_most(float value, float bound) { return value > bound ? bound : value; }
float at_least(float value, float bound) { return value < bound ? bound : value; }

struct Sums {
    double products, firsts, seconds;
};

// Squares of any float32 neither overflow nor vanish in float64.
Sums careful_sums(const float* first, const float* second, int64_t width) {
    Sums sums{};
    for (int64_t i = 0; i < width; ++i) {
        const double a = first[i], b = second[i];
        sums.products += a * b;
        sums.firsts += a * a;
        sums.seconds += b * b;
    }
    return sums;
}

// Written once for vectors of 64 bytes; the compiler makes of it what its caller's instructions offer. Each
// of the 32 lanes sums a few products only, so float32 loses little.
inline __attribute__((always_inline)) Sums sums_in_lanes(const float* first, const float* second,
                                                         int64_t width) {
    using Lanes = float __attribute__((vector_size(64), aligned(4), may_alias));
    constexpr int64_t kLanes = 16;
    Lanes products[2] = {}, firsts[2] = {}, seconds[2] = {};
    int64_t i = 0;
    for (; i + 2 * kLanes <= width; i += 2 * kLanes) {
#pragma GCC unroll 2
        for (int64_t half = 0; half < 2; ++half) {
            const Lanes a = *reinterpret_cast<const Lanes*>(first + i + half * kLanes);
            const Lanes b = *reinterpret_cast<const Lanes*>(second + i + half * kLanes);
            products[half] += a * b;
            firsts[half] += a * a;
            seconds[half] += b * b;
        }
    }
    Sums sums = careful_sums(first + i, second + i, width - i);
    for (int64_t lane = 0; lane < kLanes; ++lane) {
        sums.products += products[0][lane] + products[1][lane];
        sums.firsts += firsts[0][lane] + firsts[1][lane];
        sums.seconds += seconds[0][lane] + seconds[1][lane];
    }
    return sums;
}

using SumUp = Sums (*)(const float*, const float*, int64_t);

Sums sums_plain(const float* first, const float* second, int64_t width) {
    return sums_in_lanes(first, second, width);
}

#if defined(__x86_64__) && defined(__GNUC__)
__attribute__((target("avx2"))) Sums sums_avx2(const float* first, const float* second, int64_t width) {
    return sums_in_lanes(first, second, width);
}

__attribute__((target("avx512f"))) Sums sums_avx512(const float* first, const float* second, int64_t width) {
    return sums_in_lanes(first, second, width);
}
#endif

SumUp choose() {
#if defined(__x86_64__) && defined(__GNUC__)
    if (__builtin_cpu_supports("avx512f")) return sums_avx512;
    if (__builtin_cpu_supports("avx2")) return sums_avx2;
#endif
    return sums_plain;
}

const SumUp kSumUp = choose();

float cosine(const float* first, const float* second, int64_t width) {
    Sums sums = kSumUp(first, second, width);
    // Outside of these squares may have overflowed or vanished, or there is a NaN.
    const auto safe = [](double squares) { return squares > 1e-12 && squares < 1e30; };
    if (!safe(sums.firsts) || !safe(sums.seconds)) sums = careful_sums(first, second, width);
    const double norms = std::sqrt(sums.firsts) * std::sqrt(sums.seconds);
    return norms == 0 ? 0.0f : static_cast<float>(sums.products / norms);
}

float reconstruction(float nll, Reconstruction form, float clip) {
    if (form == Reconstruction::kNll) return -nll;
    return -at_most(std::exp(nll), form == Reconstruction::kClipped ? clip : kLargest);
}

void compare(const float* total, int64_t size, double epsilon, float* advantage) {
    double mean = 0;
    for (int64_t i = 0; i < size; ++i) mean += total[i];
    mean /= static_cast<double>(size);
    double squares = 0;
    for (int64_t i = 0; i < size; ++i) squares += (total[i] - mean) * (total[i] - mean);
    const double scale = std::sqrt(squares / static_cast<double>(size)) + epsilon;
    for (int64_t i = 0; i < size; ++i) advantage[i] = static_cast<float>((total[i] - mean) / scale);
}

void reward(const GroupRewardInput& input, const GroupRewardOutput& output, int64_t first) {
    for (int64_t row = first; row < first + input.group_size; ++row) {
        const int64_t start = row * input.width;
        output.information[row] =
            cosine(input.keyword_embedding + start, input.text_embedding + start, input.width);
        output.reconstruction[row] = reconstruction(input.nll[row], input.reconstruction, input.clip);
        output.length[row] = -input.length[row];
        const float total = input.weights[0] * output.information[row] +
                            input.weights[1] * output.reconstruction[row] +
                            input.weights[2] * output.length[row];
        output.total[row] = at_least(at_most(total, kLargest), -kLargest);
    }
    compare(output.total + first, input.group_size, input.epsilon, output.advantage + first);
}

}  // namespace

void group_reward(const GroupRewardInput& input, const GroupRewardOutput& output, int64_t threads,
                  const Poll& poll) {
    const int64_t groups = input.rows / input.group_size, numbers = 2 * input.rows * input.width;
    threads = std::min({threads, groups, 1 + numbers / kWorthAThread});
    if (threads <= 1) {
        for (int64_t group = 0; group < groups; ++group) reward(input, output, group * input.group_size);
        return;
    }
    const int64_t at_once = std::max<int64_t>(1, kWorthAThread / 64 / (input.group_size * input.width + 1));
    run_polled(groups, at_once, threads, poll,
               [&](int64_t, int64_t group) { reward(input, output, group * input.group_size); });
}

}  // namespace mmsrarec
