// A set of item ids as one bit an id; used for items alive and for the allow and exclude filters.
#pragma once

#include <bit>
#include <cstdint>
#include <span>
#include <vector>

#include "bits.hpp"

namespace mmsrarec {

class IdSet {
  public:
    // Ids run from 0 to size - 1; all of them are members when `full`, else none.
    IdSet(int64_t size, bool full) : words_((size + 63) / 64, full ? ~uint64_t{0} : 0), size_(size) {
        clear_tail();
    }

    // `words` holds bit i of the set at words[i / 64], bit i % 64.
    IdSet(int64_t size, std::span<const uint64_t> words) : words_(words.begin(), words.end()), size_(size) {
        clear_tail();
    }

    // The members are the ids whose flag is set.
    explicit IdSet(std::span<const bool> flags) : IdSet(static_cast<int64_t>(flags.size()), false) {
        gather_bits(flags.data(), size_, words_.data());
    }

    bool contains(int64_t id) const { return has_bit(words_.data(), id); }
    void insert(int64_t id) { set_bit(words_.data(), id); }
    void erase(int64_t id) { clear_bit(words_.data(), id); }

    // Keeps only the members that `other`, a set of the same size, has too.
    void intersect(const IdSet& other) {
        for (size_t i = 0; i < words_.size(); ++i) words_[i] &= other.words_[i];
    }

    // Drops the members of `other`, a set of the same size.
    void subtract(const IdSet& other) {
        for (size_t i = 0; i < words_.size(); ++i) words_[i] &= ~other.words_[i];
    }

    // Makes room for ids up to size - 1; the new ones are members.
    void grow(int64_t size) {
        words_.resize((size + 63) / 64, 0);
        const int64_t first = size_;
        size_ = size;
        for (int64_t id = first; id < size; ++id) insert(id);
    }

    // Number of members in [first, last).
    int64_t count(int64_t first, int64_t last) const {
        return count_bits(words_.data(), last) - count_bits(words_.data(), first);
    }

    // Calls visit(id) for the members in [first, last), ascending.
    template <typename Visit>
    void for_each(int64_t first, int64_t last, const Visit& visit) const {
        for (int64_t word = first >> 6; word << 6 < last; ++word) {
            for (uint64_t left = words_[word]; left; left &= left - 1) {
                const int64_t id = (word << 6) + std::countr_zero(left);
                if (id >= first && id < last) visit(id);
            }
        }
    }

    int64_t size() const { return size_; }
    std::span<const uint64_t> words() const { return words_; }

  private:
    void clear_tail() {
        if (size_ & 63) words_.back() &= (uint64_t{1} << (size_ & 63)) - 1;
    }

    std::vector<uint64_t> words_;
    int64_t size_;
};

}  // namespace mmsrarec
