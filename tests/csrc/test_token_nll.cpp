// token_nll with each set of instructions that this machine has, against sums in double.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "check.hpp"
#include "errors.hpp"
#include "sequence_nll/token_nll.hpp"

namespace {

using mmsrarec::Float;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// A float32 whose last 16 bits are 0 is a bfloat16; this one is also a float16.
float coarse(float value) { return std::round(value * 64) / 64; }

struct Problem {
    int64_t tokens, width, words;
    std::vector<float> hidden, weight;
    std::vector<int64_t> targets;
    float softcap = 0, skip_below = 0;

    Problem(int64_t n_tokens, int64_t n_width, int64_t n_words, uint32_t seed)
        : tokens(n_tokens), width(n_width), words(n_words) {
        std::mt19937 random(seed);
        std::uniform_real_distribution<float> entry(-1, 1);
        hidden.resize(static_cast<size_t>(tokens * width));
        weight.resize(static_cast<size_t>(words * width));
        for (float& value : hidden) value = coarse(entry(random));
        for (float& value : weight) value = coarse(entry(random));
        for (int64_t token = 0; token < tokens; ++token) {
            targets.push_back(static_cast<int64_t>(random() % static_cast<uint32_t>(words)));
        }
    }

    mmsrarec::TokenNllInput input() const {
        return {{hidden.data(), Float::kFloat32, tokens, width, width, 1},
                {weight.data(), Float::kFloat32, words, width, width, 1},
                targets.data(),
                softcap,
                skip_below};
    }
};

struct Answer {
    std::vector<float> nll, log_sum, gradient;
};

Answer solve(const mmsrarec::TokenNllInput& input, int64_t threads, bool with_gradient = true) {
    const auto tokens = static_cast<size_t>(input.hidden.rows);
    Answer answer{std::vector<float>(tokens), std::vector<float>(tokens), {}};
    answer.gradient.resize(with_gradient ? tokens * static_cast<size_t>(input.hidden.columns) : 0);
    mmsrarec::token_nll(
        input, {answer.nll.data(), answer.log_sum.data(), with_gradient ? answer.gradient.data() : nullptr},
        threads, {});
    return answer;
}

// Largest difference from the definition, over nll and gradient.
double error_of(const Problem& problem, const Answer& answer) {
    const int64_t width = problem.width;
    double worst = 0;
    for (int64_t token = 0; token < problem.tokens; ++token) {
        std::vector<double> logits, gradient(static_cast<size_t>(width));
        double largest = -1e300, sum = 0;
        for (int64_t word = 0; word < problem.words; ++word) {
            double logit = 0;
            for (int64_t i = 0; i < width; ++i) {
                logit += double{problem.hidden[token * width + i]} * problem.weight[word * width + i];
            }
            if (problem.softcap > 0) logit = problem.softcap * std::tanh(logit / problem.softcap);
            logits.push_back(logit);
            largest = std::max(largest, logit);
        }
        for (const double logit : logits) sum += std::exp(logit - largest);
        const double log_sum = largest + std::log(sum);
        const int64_t target = problem.targets[token];
        worst = std::max(worst, std::abs(log_sum - logits[target] - answer.nll[token]));
        worst = std::max(worst, std::abs(log_sum - answer.log_sum[token]));
        if (answer.gradient.empty()) continue;
        for (int64_t word = 0; word < problem.words; ++word) {
            const double bent = problem.softcap > 0 ? logits[word] / problem.softcap : 0;
            const double factor = (std::exp(logits[word] - log_sum) - (word == target)) * (1 - bent * bent);
            for (int64_t i = 0; i < width; ++i) gradient[i] += factor * problem.weight[word * width + i];
        }
        for (int64_t i = 0; i < width; ++i) {
            worst = std::max(worst, std::abs(gradient[i] - answer.gradient[token * width + i]));
        }
    }
    return worst;
}

void with_each_instructions(const std::function<void()>& body) {
    const std::string natural = mmsrarec::token_nll_instructions();
    for (const char* name : {"plain", "avx2", "avx512f"}) {
        if (mmsrarec::use_token_nll_instructions(name)) body();
    }
    CHECK(mmsrarec::use_token_nll_instructions(natural.c_str()));
}

}  // namespace

TEST(token_nll_is_the_definition) {
    with_each_instructions([] {
        uint32_t seed = 0;
        for (const int64_t tokens : {1, 7, 33, 300}) {
            for (const int64_t width : {1, 31, 64, 130}) {
                for (const int64_t words : {1, 5, 112, 113, 500}) {
                    for (const float softcap : {0.0f, 3.0f}) {
                        Problem problem(tokens, width, words, ++seed);
                        problem.softcap = softcap;
                        const Answer answer = solve(problem.input(), 1 + seed % 5);
                        CHECK(error_of(problem, answer) < 2e-5);
                        const Answer without = solve(problem.input(), 1 + seed % 5, false);
                        CHECK(without.nll == answer.nll);
                    }
                }
            }
        }
    });
}

TEST(token_nll_is_the_same_cut_into_parts) {
    for (const int64_t tokens : {3, 90, 700}) {
        Problem problem(tokens, 300, 200'000 / tokens + 3'000, 7);
        const Answer one = solve(problem.input(), 1);
        const Answer many = solve(problem.input(), 5);
        for (size_t i = 0; i < one.nll.size(); ++i) CHECK(std::abs(one.nll[i] - many.nll[i]) < 1e-5);
        for (size_t i = 0; i < one.gradient.size(); ++i) {
            CHECK(std::abs(one.gradient[i] - many.gradient[i]) < 1e-5);
        }
    }
}

TEST(token_nll_reads_narrow_floats_and_any_strides) {
    with_each_instructions([] {
        const Problem problem(40, 70, 250, 1);
        const Answer wanted = solve(problem.input(), 2);
        const auto turned = [](const std::vector<float>& values, int64_t rows, int64_t columns,
                               auto convert) {
            std::vector<uint16_t> made(values.size());
            for (int64_t row = 0; row < rows; ++row) {
                for (int64_t i = 0; i < columns; ++i)
                    made[i * rows + row] = convert(values[row * columns + i]);
            }
            return made;
        };
        const auto to_bfloat16 = [](float value) {
            uint32_t bits;
            std::memcpy(&bits, &value, 4);
            return static_cast<uint16_t>(bits >> 16);
        };
        const auto to_float16 = [](float value) {
            int exponent = 0;
            const float fraction = std::frexp(std::abs(value), &exponent);  // in [1/2, 1)
            const auto sign = static_cast<uint16_t>(std::signbit(value) ? 0x8000 : 0);
            if (value == 0) return sign;
            return static_cast<uint16_t>(sign | ((exponent + 14) << 10) |
                                         (static_cast<int>(fraction * 2048) & 1023));
        };
        for (const bool brain : {true, false}) {
            const auto convert = [&](float value) { return brain ? to_bfloat16(value) : to_float16(value); };
            const auto hidden = turned(problem.hidden, 40, 70, convert);
            const auto weight = turned(problem.weight, 250, 70, convert);
            const Float type = brain ? Float::kBfloat16 : Float::kFloat16;
            mmsrarec::TokenNllInput input = problem.input();
            input.hidden = {hidden.data(), type, 40, 70, 1, 40};
            input.weight = {weight.data(), type, 250, 70, 1, 250};
            const Answer answer = solve(input, 2);
            CHECK(answer.nll == wanted.nll);
            CHECK(answer.gradient == wanted.gradient);
        }
    });
}

TEST(token_nll_survives_huge_logits_and_late_peaks) {
    with_each_instructions([] {
        Problem problem(20, 8, 600, 2);
        for (float& value : problem.hidden) value *= 8;
        // Logits rise along the vocabulary, so that the peak moves again and again.
        for (int64_t word = 0; word < 600; ++word) {
            for (int64_t i = 0; i < 8; ++i) {
                problem.weight[word * 8 + i] =
                    static_cast<float>(word) / 8 * (problem.hidden[i] > 0 ? 1 : -1);
            }
        }
        const Answer answer = solve(problem.input(), 3);
        CHECK(error_of(problem, answer) < 5e-3);  // of logits around 4,000
        for (const float value : answer.gradient) CHECK(std::isfinite(value));
    });
}

TEST(token_nll_lets_nan_and_infinity_through) {
    with_each_instructions([] {
        Problem problem(6, 3, 200, 3);
        for (float& value : problem.weight) value = std::abs(value) + 0.5f;
        problem.hidden[0] = kNan;
        problem.hidden[3] = kInfinity;
        problem.hidden[6] = -kInfinity;
        problem.weight[3 * 150] = kInfinity;
        for (int64_t token = 3; token < 6; ++token) problem.hidden[3 * token] = token == 3 ? 1.0f : -1.0f;
        problem.targets = {0, 0, 0, 1, 1, 150};
        for (const int64_t threads : {1, 4}) {
            const Answer answer = solve(problem.input(), threads);
            CHECK(std::isnan(answer.nll[0]));       // a NaN
            CHECK(std::isnan(answer.nll[1]));       // inf - inf, as all logits are infinite
            CHECK(std::isnan(answer.nll[2]));       // -inf + inf
            CHECK_EQUAL(answer.nll[3], kInfinity);  // another word is infinitely likelier
            CHECK(std::isfinite(answer.nll[4]));    // a word of probability 0
            CHECK_EQUAL(answer.nll[5], kInfinity);  // which is the target
            for (size_t i = 0; i < 12; ++i) CHECK(std::isnan(answer.gradient[i]));
        }
    });
}

TEST(token_nll_skips_what_is_below_the_threshold_only) {
    with_each_instructions([] {
        Problem problem(50, 16, 700, 4);
        for (float& value : problem.hidden) value *= 4;
        const Answer exact = solve(problem.input(), 1);
        problem.skip_below = 1e-4f;
        const Answer skipped = solve(problem.input(), 1);
        CHECK(skipped.nll == exact.nll);
        CHECK(skipped.gradient != exact.gradient);
        for (int64_t token = 0; token < 50; ++token) {
            double distance = 0;
            for (int64_t i = 0; i < 16; ++i) {
                const double apart = exact.gradient[token * 16 + i] - skipped.gradient[token * 16 + i];
                distance += apart * apart;
            }
            CHECK(std::sqrt(distance) <= 1e-4 * 700 * 4 + 1e-6);  // no row of weights is longer than 4
        }
    });
}

TEST(token_nll_names_a_target_that_is_no_word) {
    Problem problem(3, 4, 9, 5);
    problem.targets[1] = 9;
    const std::string message = message_of<mmsrarec::InputError>([&] { solve(problem.input(), 1); });
    CHECK_EQUAL(message, "targets must lie in [0, 9), got 9.");
}

TEST(token_nll_can_be_interrupted) {
    const Problem problem(2048, 128, 10000, 6);
    std::vector<float> nll(2048), log_sum(2048);
    struct Stop {};
    bool stopped = false;
    const mmsrarec::Poll poll = [] { throw Stop{}; };
    try {
        mmsrarec::token_nll(problem.input(), {nll.data(), log_sum.data(), nullptr}, 1, poll);
    } catch (const Stop&) {
        stopped = true;
    }
    CHECK(stopped);
}
