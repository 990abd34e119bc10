#include <algorithm>
#include <cmath>
#include <random>
#include <set>
#include <thread>
#include <vector>

#include "check.hpp"
#include "co_interaction/co_interaction.hpp"
#include "errors.hpp"

using namespace mmsrarec;

namespace {

struct Users {
    std::vector<int64_t> indptr = {0};
    std::vector<int32_t> items;

    void append(const std::vector<int32_t>& row) {
        items.insert(items.end(), row.begin(), row.end());
        indptr.push_back(static_cast<int64_t>(items.size()));
    }

    std::set<int32_t> of(size_t user) const {
        return {items.begin() + indptr[user], items.begin() + indptr[user + 1]};
    }
    size_t size() const { return indptr.size() - 1; }
};

struct Path {
    int32_t user, item;
    float strength;
    bool operator==(const Path&) const = default;
};

struct Found {
    std::vector<int32_t> counts;
    std::vector<std::vector<Path>> paths;  // without padding
    bool operator==(const Found&) const = default;
};

// Few items, the small ids taken most; rows that repeat an item, and empty ones.
std::vector<int32_t> random_items(std::mt19937_64& random, size_t most, int32_t n_items) {
    std::vector<int32_t> row(random() % (most + 1));
    for (int32_t& item : row) {
        item = static_cast<int32_t>(std::min(random() % n_items, random() % n_items));
    }
    return row;
}

Users random_users(std::mt19937_64& random, size_t n_users, int32_t n_items) {
    Users users;
    for (size_t user = 0; user < n_users; ++user) users.append(random_items(random, 8, n_items));
    return users;
}

Found ask(const CoInteraction& paths, const std::vector<int32_t>& history,
          const std::vector<int32_t>& candidates, int64_t max_paths, int64_t exclude_user) {
    const size_t places = candidates.size() * static_cast<size_t>(max_paths);
    Found found;
    found.counts.resize(candidates.size());
    std::vector<int32_t> users(places), items(places);
    std::vector<float> strengths(places);
    paths.evidence(history, candidates, max_paths, exclude_user, {found.counts, users, items, strengths});
    found.paths.resize(candidates.size());
    for (size_t place = 0; place < places; ++place) {
        CHECK((users[place] < 0) == (items[place] < 0));
        if (users[place] >= 0) {
            found.paths[place / max_paths].push_back({users[place], items[place], strengths[place]});
        }
    }
    return found;
}

// The definition, user by user.
Found brute_force(const Users& users, int32_t n_items, int64_t cap, const std::vector<int32_t>& history,
                  const std::vector<int32_t>& candidates, int64_t max_paths, int64_t exclude_user) {
    std::vector<int64_t> takers(n_items, 0);
    for (size_t user = 0; user < users.size(); ++user) {
        for (int32_t item : users.of(user)) ++takers[item];
    }
    Found found;
    for (int32_t candidate : candidates) {
        std::vector<Path> paths;
        for (size_t user = 0; user < users.size(); ++user) {
            const auto taken = users.of(user);
            if (static_cast<int64_t>(user) == exclude_user || !taken.contains(candidate)) continue;
            double weight = 0.0;
            int32_t rarest = -1;
            for (int32_t item : std::set<int32_t>(history.begin(), history.end())) {
                if (item == candidate || !taken.contains(item) || takers[item] > cap) continue;
                const double share = static_cast<double>(users.size()) / static_cast<double>(takers[item]);
                weight += std::nearbyint(std::log(1.0 + share) * (1 << 20)) / (1 << 20);
                if (rarest < 0 || takers[item] < takers[rarest]) rarest = item;
            }
            if (rarest < 0) continue;
            const double root = std::sqrt(static_cast<double>(taken.size()));
            paths.push_back({static_cast<int32_t>(user), rarest, static_cast<float>(weight / root)});
        }
        found.counts.push_back(static_cast<int32_t>(paths.size()));
        std::ranges::stable_sort(paths, std::ranges::greater{}, &Path::strength);
        if (static_cast<int64_t>(paths.size()) > max_paths) paths.resize(max_paths);
        found.paths.push_back(std::move(paths));
    }
    return found;
}

std::unique_ptr<CoInteraction> build(const Users& users, int32_t n_items, int64_t cap) {
    return CoInteraction::from_arrays(users.indptr, users.items, n_items, cap);
}

}  // namespace

TEST(evidence_equals_brute_force) {
    std::mt19937_64 random(31);
    for (int round = 0; round < 200; ++round) {
        const auto n_items = static_cast<int32_t>(1 + random() % 20);
        const Users users = random_users(random, random() % 60, n_items);
        const auto cap = static_cast<int64_t>(random() % 30);
        const auto paths = build(users, n_items, cap);
        for (int asked = 0; asked < 5; ++asked) {
            const auto history = random_items(random, 10, n_items);
            const auto candidates = random_items(random, 10, n_items);
            const auto max_paths = static_cast<int64_t>(random() % 7);
            const auto exclude_user = static_cast<int64_t>(random() % (users.size() + 1)) - 1;
            CHECK(ask(*paths, history, candidates, max_paths, exclude_user) ==
                  brute_force(users, n_items, cap, history, candidates, max_paths, exclude_user));
        }
    }
}

// One item that all took, a history that few share: the walk goes over the bridges, not over the takers.
TEST(a_candidate_that_all_took_is_counted_from_the_bridges) {
    Users users;
    for (int32_t user = 0; user < 500; ++user) {
        users.append(user % 100 ? std::vector<int32_t>{0, 2} : std::vector<int32_t>{1, 0});
    }
    users.append({1, 2});
    const auto paths = build(users, 3, 100);
    CHECK(ask(*paths, {1}, {0, 2}, 3, 100) == brute_force(users, 3, 100, {1}, {0, 2}, 3, 100));
    CHECK_EQUAL(ask(*paths, {1}, {0}, 0, -1).counts[0], 5);
}

TEST(bad_arrays_and_questions_are_named) {
    Users users;
    users.append({0, 1});
    const auto refusal = [&](std::vector<int64_t> indptr, int64_t n_items, int64_t cap) {
        return message_of<InputError>([&] { CoInteraction::from_arrays(indptr, users.items, n_items, cap); });
    };
    CHECK_EQUAL(refusal({0, 1}, 2, 9), "indptr[1] must be the number of items, 2, got 1.");
    CHECK_EQUAL(refusal({0, 2}, 1, 9), "items[1] = 1 is no item; ids run from 0 to n_items - 1 = 0.");
    CHECK(refusal({0, 2}, -1, 9).starts_with("n_items must lie in 0.."));
    CHECK(refusal({0, 2}, 2, -1).starts_with("cap must lie in 0.."));
    const auto paths = build(users, 2, 9);
    CHECK(message_of<InputError>([&] { ask(*paths, {2}, {0}, 1, -1); }).starts_with("history[0] = 2"));
    CHECK(message_of<InputError>([&] { ask(*paths, {0}, {-1}, 1, -1); }).starts_with("candidates[0] = -1"));
    CHECK_EQUAL(message_of<InputError>([&] { ask(*paths, {0}, {0}, 1, 1); }),
                "exclude_user must lie in -1..0, got 1.");
}

TEST(a_poll_that_throws_stops_a_build) {
    Users users;
    users.append({0});
    const Poll stop = [] { throw std::runtime_error("stopped"); };
    CHECK_EQUAL(message_of<std::runtime_error>(
                    [&] { CoInteraction::from_arrays(users.indptr, users.items, 1, 1, stop); }),
                "stopped");
}

TEST(many_threads_get_the_answers_of_one) {
    std::mt19937_64 random(32);
    constexpr int32_t n_items = 40;
    const Users users = random_users(random, 2000, n_items);
    const auto paths = build(users, n_items, 1000);
    std::vector<std::vector<int32_t>> histories;
    for (int i = 0; i < 50; ++i) histories.push_back(random_items(random, 20, n_items));
    const std::vector<int32_t> candidates = {0, 1, 5, 17, 39};
    std::vector<Found> wanted;
    for (const auto& history : histories) wanted.push_back(ask(*paths, history, candidates, 5, 3));
    std::vector<int> wrong(4, 0);
    {
        std::vector<std::jthread> threads;
        for (int thread = 0; thread < 4; ++thread) {
            threads.emplace_back([&, thread] {
                for (size_t i = 0; i < histories.size(); ++i) {
                    wrong[thread] += ask(*paths, histories[i], candidates, 5, 3) != wanted[i];
                }
            });
        }
    }
    CHECK_EQUAL(wrong[0] + wrong[1] + wrong[2] + wrong[3], 0);
}
