// The users who took each item: as ascending ids, and as one bit a user where that is no larger than the ids.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "bits.hpp"
#include "poll.hpp"

namespace mmsrarec {

class ItemUsers {
  public:
    ItemUsers() = default;

    // User u took items[indptr[u]] to items[indptr[u + 1] - 1]; one taken twice counts once. Throws
    // InputError, naming the argument, unless indptr is well formed and items lie in [0, n_items).
    ItemUsers(std::span<const int64_t> indptr, std::span<const int32_t> items, int64_t n_items,
              const Poll& poll);

    std::span<const int32_t> of(int32_t item) const {
        return {users_.data() + starts_[item], static_cast<size_t>(count(item))};
    }

    // Bit u % 64 of word u / 64 for each user u of an item that many took; empty for other items.
    std::span<const uint64_t> bits_of(int32_t item) const {
        if (places_[item] < 0) return {};
        return {words_.data() + places_[item] * words_a_set(), static_cast<size_t>(words_a_set())};
    }

    bool took(int32_t user, int32_t item) const {
        if (const auto bits = bits_of(item); !bits.empty()) return has_bit(bits.data(), user);
        return std::ranges::binary_search(of(item), user);
    }

    int64_t count(int32_t item) const { return starts_[item + 1] - starts_[item]; }
    int32_t items_taken(int32_t user) const { return items_taken_[user]; }  // distinct
    int64_t n_users() const { return static_cast<int64_t>(items_taken_.size()); }
    int64_t n_items() const { return static_cast<int64_t>(places_.size()); }
    int64_t words_a_set() const { return (n_users() + 63) / 64; }
    int64_t nbytes() const;

  private:
    void gather(std::span<const int64_t> indptr, std::span<const int32_t> items, const Poll& poll);
    void set_bits(const Poll& poll);

    std::vector<int64_t>
        starts_;  // (n_items + 1,): users_[starts_[i]] to users_[starts_[i + 1] - 1] took item i
    std::vector<int32_t> users_;        // (interactions,)
    std::vector<int32_t> items_taken_;  // (n_users,)
    std::vector<int32_t> places_;       // (n_items,) which set of words_ is the item's; -1: none
    std::vector<uint64_t> words_;       // (sets * words_a_set,)
};

// Throws InputError unless all `items`, the argument `name`, lie in [0, n_items).
void check_items(std::span<const int32_t> items, const char* name, int64_t n_items);

}  // namespace mmsrarec
