#include "co_interaction/item_users.hpp"

#include <algorithm>
#include <string>

#include "errors.hpp"
#include "row_starts.hpp"

namespace mmsrarec {
namespace {

constexpr int64_t kEntriesBetweenPolls = 1 << 20;
constexpr int64_t kBitsAnId = 32;

// Calls `visit(user, item)` for each item of each user, the first time only: `last`, who took an item last,
// tells the second time from the first because the items of a user stand together.
template <typename Visit>
void for_each_taken(std::span<const int64_t> indptr, std::span<const int32_t> items, int64_t n_items,
                    const Poll& poll, const Visit& visit) {
    std::vector<int32_t> last(n_items, -1);
    Pacer pacer(poll, kEntriesBetweenPolls);
    for (size_t row = 0; row + 1 < indptr.size(); ++row) {
        const auto user = static_cast<int32_t>(row);
        for (int64_t entry = indptr[row]; entry < indptr[row + 1]; ++entry) {
            const int32_t item = items[entry];
            if (last[item] == user) continue;
            last[item] = user;
            visit(user, item);
        }
        pacer.advance(indptr[row + 1] - indptr[row] + 1);
    }
}

}  // namespace

void check_items(std::span<const int32_t> items, const char* name, int64_t n_items) {
    for (size_t i = 0; i < items.size(); ++i) {
        if (items[i] >= 0 && items[i] < n_items) continue;
        throw InputError(at(name, i) + " = " + std::to_string(items[i]) + " is no item; " +
                         (n_items > 0 ? "ids run from 0 to n_items - 1 = " + std::to_string(n_items - 1)
                                      : std::string("n_items is 0, so there are none")) +
                         ".");
    }
}

ItemUsers::ItemUsers(std::span<const int64_t> indptr, std::span<const int32_t> items, int64_t n_items,
                     const Poll& poll) {
    check_row_starts(indptr, items.size(), "items");
    check_items(items, "items", n_items);
    if (poll) poll();
    starts_.assign(n_items + 1, 0);
    items_taken_.assign(indptr.size() - 1, 0);
    places_.assign(n_items, -1);
    gather(indptr, items, poll);
    set_bits(poll);
}

void ItemUsers::gather(std::span<const int64_t> indptr, std::span<const int32_t> items, const Poll& poll) {
    for_each_taken(indptr, items, n_items(), poll, [this](int32_t user, int32_t item) {
        ++starts_[item + 1];
        ++items_taken_[user];
    });
    for (int64_t item = 0; item < n_items(); ++item) starts_[item + 1] += starts_[item];
    users_.resize(starts_.back());
    std::vector<int64_t> next(starts_.begin(), starts_.end() - 1);
    for_each_taken(indptr, items, n_items(), poll,
                   [this, &next](int32_t user, int32_t item) { users_[next[item]++] = user; });
}

void ItemUsers::set_bits(const Poll& poll) {
    int32_t sets = 0;
    for (int64_t item = 0; item < n_items(); ++item) {
        if (count(item) * kBitsAnId >= n_users() && n_users() > 0) places_[item] = sets++;
    }
    words_.assign(sets * words_a_set(), 0);
    Pacer pacer(poll, kEntriesBetweenPolls);
    for (int64_t item = 0; item < n_items(); ++item) {
        if (places_[item] < 0) continue;
        uint64_t* const words = words_.data() + places_[item] * words_a_set();
        for (int32_t user : of(item)) set_bit(words, user);
        pacer.advance(count(item));
    }
}

int64_t ItemUsers::nbytes() const {
    return static_cast<int64_t>(starts_.size() * sizeof(int64_t) + words_.size() * sizeof(uint64_t) +
                                (users_.size() + items_taken_.size() + places_.size()) * sizeof(int32_t));
}

}  // namespace mmsrarec
