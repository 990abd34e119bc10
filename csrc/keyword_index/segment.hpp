// Inverted lists over a contiguous range of items: built once, never changed, so any thread may read them.
//
// Inside a segment an item has a position, 0 to n_items - 1. Positions put items of the same frequent
// keywords next to each other, so that a stretch of them either has such a keyword or has not; `ids` leads
// back. A stretch of kWindow positions is a window: a posting is its place within the window, two bytes.
//
// The postings of a frequent keyword are split by weight into several lists (tiers), each with tight bounds
// of its weights, so that the many small weights of a keyword can be passed over while its few large ones are
// not.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "keyword_index/id_set.hpp"
#include "keyword_index/keyword_rows.hpp"
#include "poll.hpp"

namespace mmsrarec {

constexpr int kWindowBits = 16;
constexpr int32_t kWindow = 1 << kWindowBits;
constexpr int kMostTiers = 4;

// One list of postings, as it is stored.
struct PostingList {
    int64_t first;    // of its entries in `offsets`, or in `positions` when it is `whole`
    int64_t weights;  // of its entries in `weights`; it has none there when all are equal
    int64_t windows;  // of its entries in `window_starts`; not used when there is one window, or when `whole`
    int32_t count;
    int32_t whole;  // 1: too short for a table of windows; each posting is a position of four bytes
    float least;    // of its weights
    float most;

    bool constant() const { return least == most; }
};

// The postings of a list in one window, places ascending.
struct Block {
    const uint16_t* offsets;
    const float* weights;  // null: all equal
    int32_t count;
};

// What a segment consists of in memory and on disk.
struct SegmentArrays {
    std::vector<int32_t> keywords;
    std::vector<int32_t> tiers;
    std::vector<PostingList> lists;
    std::vector<int32_t> window_starts;
    std::vector<uint16_t> offsets;
    std::vector<int32_t> positions;
    std::vector<float> weights;
    std::vector<int32_t> ids;
};

class Segment {
  public:
    int64_t first_id = 0;
    int64_t n_items = 0;
    int64_t n_alive = 0;                     // of these, how many were alive when the lists were made
    std::span<const int32_t> keywords;       // ascending; only those with postings
    std::span<const int32_t> tiers;          // (keywords + 1,): keyword i has lists [tiers[i], tiers[i + 1]),
                                             // of ascending weights
    std::span<const PostingList> lists;      // (lists,)
    std::span<const int32_t> window_starts;  // per list with a table, (windows + 1,), counted from its first
    std::span<const uint16_t> offsets;       // (postings of lists that are not whole,)
    std::span<const int32_t> positions;      // (postings of lists that are whole,)
    std::span<const float> weights;          // (postings of lists whose weights differ,)
    std::span<const int32_t> ids;       // (n_items,) position -> id, relative to first_id; empty: the same
    std::shared_ptr<const void> owner;  // keeps what the spans point at: vectors, or a mapped file

    // Makes what follows from the arrays and is not stored; called once, before the segment is shared.
    void derive(const Poll& poll = {});

    int32_t n_windows() const { return static_cast<int32_t>((n_items + kWindow - 1) >> kWindowBits); }
    int64_t n_postings() const { return static_cast<int64_t>(offsets.size() + positions.size()); }
    int64_t nbytes() const;

    int64_t id_at(int32_t position) const { return first_id + (ids.empty() ? position : ids[position]); }
    int32_t position_of(int64_t id) const {
        const auto relative = static_cast<int32_t>(id - first_id);
        return position_of_.empty() ? relative : position_of_[relative];
    }

    // Lists of a keyword: [first, second).
    std::pair<int32_t, int32_t> lists_of(int32_t keyword) const {
        const auto found = std::ranges::lower_bound(keywords, keyword);
        if (found == keywords.end() || *found != keyword) return {0, 0};
        const size_t slot = found - keywords.begin();
        return {tiers[slot], tiers[slot + 1]};
    }

    // Only for lists that are not whole.
    Block block(const PostingList& list, int32_t window) const {
        int32_t start = 0, end = list.count;
        if (n_windows() > 1) {
            start = window_starts[list.windows + window];
            end = window_starts[list.windows + window + 1];
        }
        return {offsets.data() + list.first + start,
                list.constant() ? nullptr : weights.data() + list.weights + start, end - start};
    }

    float weight(const PostingList& list, int32_t place) const {
        return list.constant() ? list.least : weights[list.weights + place];
    }

    // The place of `position` within a list, -1 if it is not there.
    int32_t find(int32_t list, int32_t position) const;

    // Whether a list has one bit for each position: when it has a posting in so many positions. With one in
    // 64, bits are added four times as quickly as postings and take four times their memory. They know only
    // the greatest weight of the list, so that it pays later when that is a loose bound.
    static constexpr int64_t kPositionsIfTight = 64, kPositionsIfLoose = 32;
    bool has_bits(const PostingList& list) const {
        const bool tight = list.most <= 2.0f * list.least;
        return !list.whole &&
               list.count >= fewest_for_bits(n_items, tight ? kPositionsIfTight : kPositionsIfLoose);
    }
    static int64_t fewest_for_bits(int64_t n_items, int64_t positions_per_posting) {
        constexpr int64_t kFewest = 2048;
        return std::max(kFewest, (n_items + positions_per_posting - 1) / positions_per_posting);
    }

    // The bits of such a list, or null.
    const uint64_t* bits(int32_t list) const {
        return bitmap_of_[list] < 0 ? nullptr : bits_.data() + bitmap_of_[list] * words_per_bitmap();
    }

    // Whether such a list has postings among the kStretch positions from `position`, a multiple of kStretch.
    static constexpr int32_t kStretch = 4096;
    bool in_stretch(int32_t list, int32_t position) const {
        const int32_t* ranks = ranks_.data() + bitmap_of_[list] * ranks_per_bitmap();
        return ranks[position / kRanked] != ranks[(position + kStretch) / kRanked];
    }

    // Calls visit(position, weight) for each posting of a list, positions ascending.
    template <typename Visit>
    void for_each(const PostingList& list, const Visit& visit) const {
        if (list.whole) {
            for (int32_t i = 0; i < list.count; ++i) visit(positions[list.first + i], weight(list, i));
            return;
        }
        for (int32_t window = 0; window < n_windows(); ++window) {
            const Block part = block(list, window);
            for (int32_t i = 0; i < part.count; ++i) {
                visit((window << kWindowBits) + part.offsets[i], part.weights ? part.weights[i] : list.least);
            }
        }
    }

  private:
    static constexpr int32_t kRanked = 512;  // positions between two counts of the bits before
    int64_t words_per_bitmap() const { return int64_t{n_windows()} * (kWindow / 64); }
    int64_t ranks_per_bitmap() const { return int64_t{n_windows()} * (kWindow / kRanked) + 1; }

    std::vector<int32_t> position_of_;  // the inverse of `ids`
    std::vector<int32_t> bitmap_of_;    // (lists,) -1: has none
    std::vector<uint64_t> bits_;
    std::vector<int32_t> ranks_;
};

// Owns `arrays`.
std::shared_ptr<const Segment> seal(std::shared_ptr<SegmentArrays> arrays, int64_t first_id, int64_t n_items,
                                    int64_t n_alive, const Poll& poll = {});

}  // namespace mmsrarec
