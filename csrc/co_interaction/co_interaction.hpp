// Evidence for candidates from what others took: user -> shared item -> bridge user -> candidate.
//
// The same names stand in mmsrarec/retrieve/co_interaction.py. Built once, never changed, so any number of
// threads may ask.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "co_interaction/item_users.hpp"
#include "poll.hpp"
#include "scratch_pool.hpp"

namespace mmsrarec {

// Where evidence goes: row i of the last three, (candidates, max_paths) each, holds the strongest paths to
// candidate i, then -1, -1 and 0.
struct Evidence {
    std::span<int32_t> counts;  // (candidates,) distinct bridge users
    std::span<int32_t> users;
    std::span<int32_t> items;
    std::span<float> strengths;
};

class CoInteraction {
  public:
    // User u took items[indptr[u]] to items[indptr[u + 1] - 1], each below `n_items`; one taken twice counts
    // once. Items that more than `cap` users took are never shared items.
    static std::unique_ptr<CoInteraction> from_arrays(std::span<const int64_t> indptr,
                                                      std::span<const int32_t> items, int64_t n_items,
                                                      int64_t cap, const Poll& poll = {});

    // A bridge of a candidate took it, and another item of `history` that at most `cap` users took;
    // `exclude_user`
    // (-1: nobody) is no bridge. Its strength is the sum of ln(1 + users / users who took it), rounded to a
    // multiple of 2^-20, over all such items, divided by the root of the number of items it took, rounded to
    // float; the path goes through the rarest of them, ties by smaller id. The strongest paths come first,
    // ties by smaller user.
    void evidence(std::span<const int32_t> history, std::span<const int32_t> candidates, int64_t max_paths,
                  int64_t exclude_user, const Evidence& out) const;

    int64_t n_users() const { return users_.n_users(); }
    int64_t n_items() const { return users_.n_items(); }
    int64_t cap() const { return cap_; }
    int64_t nbytes() const { return users_.nbytes(); }

  private:
    struct Bridge {
        float strength;
        int32_t user;
    };

    // Working memory of one call, kept and used again.
    struct Scratch {
        std::vector<int32_t> shared;        // distinct items of the history that may be shared, ascending
        std::vector<int32_t> rarest_first;  // the same
        std::vector<uint64_t> bridges;      // (words_a_set,) one bit a user who shares one of them
        std::vector<double> weights;        // (n_users,) of what a user shares; zero for all between calls
        std::vector<int32_t> touched;       // (n_users + 1,) users whose weight is not zero come first
        std::vector<Bridge> strongest;      // of one candidate, a heap with the weakest in front
        size_t n_touched = 0;
    };

    CoInteraction(ItemUsers users, int64_t cap) : users_(std::move(users)), cap_(cap) {}
    double weight(int32_t item) const;
    void share(std::span<const int32_t> history, Scratch& scratch) const;

    void count_paths(std::span<const int32_t> candidates, int64_t exclude_user, std::span<int32_t> counts,
                     Scratch& scratch) const;
    void mark_bridges(int32_t without, int64_t exclude_user, Scratch& scratch) const;

    void find_paths(std::span<const int32_t> candidates, int64_t max_paths, int64_t exclude_user,
                    const Evidence& out, Scratch& scratch) const;
    void weigh_bridges(int64_t exclude_user, Scratch& scratch) const;
    int32_t find_strongest(int32_t candidate, size_t max_paths, Scratch& scratch) const;
    int32_t shared_item(int32_t user, int32_t candidate, const Scratch& scratch) const;
    static bool stronger(const Bridge& a, const Bridge& b) {
        return a.strength > b.strength || (a.strength == b.strength && a.user < b.user);
    }

    ItemUsers users_;
    int64_t cap_;
    mutable ScratchPool<Scratch> scratch_;
};

}  // namespace mmsrarec
