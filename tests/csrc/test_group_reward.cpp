// group_reward by hand, and over threads.
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "check.hpp"
#include "group_reward/group_reward.hpp"

namespace {

using mmsrarec::Reconstruction;

struct Rewards {
    std::vector<float> information, reconstruction, length, total, advantage;
};

Rewards solve(const std::vector<float>& keywords, const std::vector<float>& texts,
              const std::vector<float>& nll, const std::vector<float>& length, int64_t group_size,
              Reconstruction form, int64_t threads = 1) {
    const auto rows = nll.size();
    Rewards made{std::vector<float>(rows), std::vector<float>(rows), std::vector<float>(rows),
                 std::vector<float>(rows), std::vector<float>(rows)};
    mmsrarec::group_reward({keywords.data(),
                            texts.data(),
                            nll.data(),
                            length.data(),
                            static_cast<int64_t>(rows),
                            static_cast<int64_t>(keywords.size() / rows),
                            group_size,
                            {1, 3, 0.5f},
                            form,
                            10,
                            1e-4},
                           {made.information.data(), made.reconstruction.data(), made.length.data(),
                            made.total.data(), made.advantage.data()},
                           threads, {});
    return made;
}

}  // namespace

TEST(group_reward_by_hand) {
    const Rewards made = solve({1, 0, 0, 0}, {1, 1, 1, 1}, {0, 100}, {2, 4}, 2, Reconstruction::kClipped);
    CHECK(std::abs(made.information[0] - std::sqrt(0.5f)) < 1e-7);
    CHECK_EQUAL(made.information[1], 0.0f);  // a vector of zeros
    CHECK_EQUAL(made.reconstruction[0], -1.0f);
    CHECK_EQUAL(made.reconstruction[1], -10.0f);
    CHECK_EQUAL(made.length[1], -4.0f);
    CHECK(std::abs(made.total[0] - (std::sqrt(0.5f) - 3 - 1)) < 1e-6);
    CHECK(std::abs(made.advantage[0] - 1) < 1e-4);
    CHECK(std::abs(made.advantage[1] + 1) < 1e-4);
}

TEST(group_reward_stays_finite_and_lets_nan_through) {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const Rewards made = solve({1e30f, 1e-30f, 1, 1}, {1e30f, 1e-30f, 1, nan}, {1e4f, 0, 0, nan},
                               {1, 1, 1, 1}, 2, Reconstruction::kPerplexity);
    CHECK_EQUAL(made.information[0], 1.0f);
    CHECK_EQUAL(made.information[1], 1.0f);
    CHECK_EQUAL(made.total[0], -std::numeric_limits<float>::max());
    CHECK(std::abs(made.advantage[0] + 1) < 1e-6);
    CHECK(std::isnan(made.information[3]));
    CHECK(std::isnan(made.advantage[2]));
}

TEST(group_reward_is_the_same_on_any_number_of_threads) {
    std::mt19937 random(0);
    std::uniform_real_distribution<float> entry(-1, 1);
    std::vector<float> keywords(4096 * 4100), texts(4096 * 4100), nll(4096), length(4096);
    for (auto* values : {&keywords, &texts, &nll, &length}) {
        for (float& value : *values) value = entry(random);
    }
    const Rewards one = solve(keywords, texts, nll, length, 8, Reconstruction::kNll, 1);
    const Rewards four = solve(keywords, texts, nll, length, 8, Reconstruction::kNll, 4);
    CHECK(one.advantage == four.advantage);
    CHECK(one.information == four.information);
}
