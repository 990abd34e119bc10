// A set of item ids as one bit an id; used for items alive and for the allow and exclude filters.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

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
        // Eight flags, each a byte of 0 or 1, become eight bits: the product moves bit 8 i to bit 56 + i.
        constexpr uint64_t kGather = 0x0102040810204080;
        int64_t id = 0;
        for (; std::endian::native == std::endian::little && id + 64 <= size_; id += 64) {
            uint64_t word = 0;
            for (int byte = 0; byte < 8; ++byte) {
                uint64_t eight;
                std::memcpy(&eight, flags.data() + id + 8 * byte, 8);
                word |= (eight * kGather >> 56) << (8 * byte);
            }
            words_[id >> 6] = word;
        }
        for (; id < size_; ++id) {
            if (flags[id]) insert(id);
        }
    }

    bool contains(int64_t id) const { return (words_[id >> 6] >> (id & 63)) & 1; }
    void insert(int64_t id) { words_[id >> 6] |= uint64_t{1} << (id & 63); }
    void erase(int64_t id) { words_[id >> 6] &= ~(uint64_t{1} << (id & 63)); }

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
        int64_t members = 0;
        while (first < last && (first & 63)) members += contains(first++);
        for (; first + 64 <= last; first += 64) members += std::popcount(words_[first >> 6]);
        while (first < last) members += contains(first++);
        return members;
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
