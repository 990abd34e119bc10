#include "co_interaction/co_interaction.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <string>

#include "bounded_heap.hpp"
#include "errors.hpp"

namespace mmsrarec {
namespace {

constexpr int64_t kMostIds = std::numeric_limits<int32_t>::max();
constexpr double kWeightUnit = 1.0 / (1 << 20);
constexpr int32_t kNoItem = -1;

void check_range(const char* name, int64_t value, int64_t least, int64_t most) {
    if (value < least || value > most) {
        throw InputError(std::string(name) + " must lie in " + std::to_string(least) + ".." +
                         std::to_string(most) + ", got " + std::to_string(value) + ".");
    }
}

// How many bits two sets share. Counted by halves of ever larger groups, which compilers turn into vector
// instructions; std::popcount is a call a word where the target need not have the instruction, and four times
// as slow.
int64_t count_common(std::span<const uint64_t> a, std::span<const uint64_t> b) {
    uint64_t total = 0;
    for (size_t i = 0; i < a.size(); ++i) {
        uint64_t bits = a[i] & b[i];
        bits -= (bits >> 1) & 0x5555555555555555u;
        bits = (bits & 0x3333333333333333u) + ((bits >> 2) & 0x3333333333333333u);
        bits = (bits + (bits >> 4)) & 0x0f0f0f0f0f0f0f0fu;
        bits += bits >> 8;
        bits += bits >> 16;
        bits += bits >> 32;
        total += bits & 0x7f;
    }
    return static_cast<int64_t>(total);
}

}  // namespace

std::unique_ptr<CoInteraction> CoInteraction::from_arrays(std::span<const int64_t> indptr,
                                                          std::span<const int32_t> items, int64_t n_items,
                                                          int64_t cap, const Poll& poll) {
    check_range("n_items", n_items, 0, kMostIds);
    check_range("cap", cap, 0, kMostIds);
    return std::unique_ptr<CoInteraction>(new CoInteraction(ItemUsers(indptr, items, n_items, poll), cap));
}

void CoInteraction::evidence(std::span<const int32_t> history, std::span<const int32_t> candidates,
                             int64_t max_paths, int64_t exclude_user, const Evidence& out) const {
    check_items(history, "history", n_items());
    check_items(candidates, "candidates", n_items());
    check_range("max_paths", max_paths, 0, kMostIds);
    check_range("exclude_user", exclude_user, -1, n_users() - 1);
    auto scratch = scratch_.take();
    share(history, *scratch);
    if (max_paths == 0) {
        count_paths(candidates, exclude_user, out.counts, *scratch);
    } else {
        find_paths(candidates, max_paths, exclude_user, out, *scratch);
    }
    scratch_.give_back(std::move(scratch));
}

// Leaves the distinct items of the history that may be shared in scratch.shared, ascending.
void CoInteraction::share(std::span<const int32_t> history, Scratch& scratch) const {
    auto& shared = scratch.shared;
    shared.clear();
    for (int32_t item : history) {
        if (users_.count(item) > 0 && users_.count(item) <= cap_) shared.push_back(item);
    }
    std::ranges::sort(shared);
    shared.erase(std::unique(shared.begin(), shared.end()), shared.end());
}

// Counting asks only whether a user is a bridge, so a bit a user is enough: what popular items add to the
// set, and how many of it took a popular candidate, are then a few operations on words.
void CoInteraction::count_paths(std::span<const int32_t> candidates, int64_t exclude_user,
                                std::span<int32_t> counts, Scratch& scratch) const {
    scratch.bridges.resize(users_.words_a_set());
    mark_bridges(kNoItem, exclude_user, scratch);
    int32_t left_out = kNoItem;
    for (size_t row = 0; row < candidates.size(); ++row) {
        const int32_t candidate = candidates[row];
        // All who took a candidate of the history share the candidate itself, which is no evidence.
        const int32_t without = std::ranges::binary_search(scratch.shared, candidate) ? candidate : kNoItem;
        if (without != left_out) mark_bridges(without, exclude_user, scratch);
        left_out = without;
        int64_t count = 0;
        if (const auto takers = users_.bits_of(candidate); !takers.empty()) {
            count = count_common(takers, scratch.bridges);
        } else {
            for (int32_t user : users_.of(candidate)) count += has_bit(scratch.bridges.data(), user);
        }
        counts[row] = static_cast<int32_t>(count);
    }
}

// Sets the bits of all users who share an item, the item `without` aside.
void CoInteraction::mark_bridges(int32_t without, int64_t exclude_user, Scratch& scratch) const {
    uint64_t* const bridges = scratch.bridges.data();
    std::ranges::fill(scratch.bridges, 0);
    for (int32_t item : scratch.shared) {
        if (item == without) continue;
        if (const auto takers = users_.bits_of(item); !takers.empty()) {
            for (size_t i = 0; i < takers.size(); ++i) bridges[i] |= takers[i];
        } else {
            for (int32_t user : users_.of(item)) set_bit(bridges, user);
        }
    }
    if (exclude_user >= 0) clear_bit(bridges, exclude_user);
}

void CoInteraction::find_paths(std::span<const int32_t> candidates, int64_t max_paths, int64_t exclude_user,
                               const Evidence& out, Scratch& scratch) const {
    scratch.weights.resize(n_users(), 0.0);
    scratch.touched.resize(n_users() + 1);
    scratch.strongest.reserve(std::min(max_paths, n_users()));
    scratch.rarest_first = scratch.shared;
    std::ranges::stable_sort(scratch.rarest_first, {}, [this](int32_t item) { return users_.count(item); });
    weigh_bridges(exclude_user, scratch);
    for (size_t row = 0; row < candidates.size(); ++row) {
        out.counts[row] = find_strongest(candidates[row], max_paths, scratch);
        for (int64_t path = 0; path < max_paths; ++path) {
            const bool found = path < static_cast<int64_t>(scratch.strongest.size());
            const Bridge bridge = found ? scratch.strongest[path] : Bridge{0.0f, -1};
            const size_t place = row * max_paths + path;
            out.users[place] = bridge.user;
            out.items[place] = found ? shared_item(bridge.user, candidates[row], scratch) : kNoItem;
            out.strengths[place] = bridge.strength;
        }
    }
    for (size_t i = 0; i < scratch.n_touched; ++i) scratch.weights[scratch.touched[i]] = 0.0;
}

double CoInteraction::weight(int32_t item) const {
    // Sums of multiples of 2^-20 are exact in double up to 2^33: a sum does not depend on its order, and
    // taking a term out of it again leaves what was there before.
    const double share = static_cast<double>(n_users()) / static_cast<double>(users_.count(item));
    return std::nearbyint(std::log(1.0 + share) / kWeightUnit) * kWeightUnit;
}

// Adds up, for each user, the weight of what it shares.
void CoInteraction::weigh_bridges(int64_t exclude_user, Scratch& scratch) const {
    double* const weights = scratch.weights.data();
    int32_t* const touched = scratch.touched.data();
    size_t n_touched = 0;
    for (int32_t item : scratch.shared) {
        const double worth = weight(item);
        for (int32_t user : users_.of(item)) {
            // Written whether it counts or not: weights are above 0, so only a user's first item moves the
            // end.
            touched[n_touched] = user;
            n_touched += weights[user] == 0.0;
            weights[user] += worth;
        }
    }
    scratch.n_touched = n_touched;
    if (exclude_user >= 0) weights[exclude_user] = 0.0;
}

// Returns how many bridges a candidate has, and leaves the strongest in scratch.strongest, best first.
int32_t CoInteraction::find_strongest(int32_t candidate, size_t max_paths, Scratch& scratch) const {
    const double own = std::ranges::binary_search(scratch.shared, candidate) ? weight(candidate) : 0.0;
    auto& strongest = scratch.strongest;
    strongest.clear();
    int32_t count = 0;
    const auto meet = [&](int32_t user) {
        const double shared = scratch.weights[user] - own;
        if (!(shared > 0.0)) return;
        ++count;
        const double root = std::sqrt(static_cast<double>(users_.items_taken(user)));
        const Bridge bridge{static_cast<float>(shared / root), user};
        offer(bridge, max_paths, strongest, stronger);
    };
    // Whichever are fewer, so that a candidate that very many took costs no more than the bridges do.
    const auto takers = users_.of(candidate);
    if (takers.size() <= scratch.n_touched * static_cast<size_t>(std::bit_width(takers.size()))) {
        for (int32_t user : takers) meet(user);
    } else {
        for (size_t i = 0; i < scratch.n_touched; ++i) {
            if (users_.took(scratch.touched[i], candidate)) meet(scratch.touched[i]);
        }
    }
    std::ranges::sort_heap(strongest, stronger);
    return count;
}

// The rarest item, the candidate aside, through which the path of a bridge user goes.
int32_t CoInteraction::shared_item(int32_t user, int32_t candidate, const Scratch& scratch) const {
    for (int32_t item : scratch.rarest_first) {
        if (item != candidate && users_.took(user, item)) return item;
    }
    return kNoItem;
}

}  // namespace mmsrarec
