// Inverted lists over a contiguous range of items: built once, never changed, so any thread may read them.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include "keyword_index/id_set.hpp"
#include "poll.hpp"

namespace mmsrarec {

// Weighted keywords of rows (items or queries), one row after the other: row i is [indptr[i], indptr[i + 1]).
struct KeywordRows {
    std::span<const int64_t> indptr;    // (rows + 1,)
    std::span<const int32_t> keywords;  // (entries,)
    std::span<const float> weights;     // (entries,)

    int64_t size() const { return static_cast<int64_t>(indptr.size()) - 1; }
};

// Throws InputError, naming the argument, unless `rows` is well formed: indptr starts at 0, never falls and
// ends at the number of entries; keyword ids lie in [0, n_keywords); weights are finite and above 0.
void check_rows(const KeywordRows& rows, int64_t n_keywords, const Poll& poll = {});

// One keyword's postings: items (relative to the segment's first id) ascending, and their weights.
struct Postings {
    std::span<const int32_t> items;
    std::span<const float> weights;
};

struct Segment {
    int64_t first_id = 0;
    int64_t n_items = 0;
    int64_t n_alive = 0;                // of these, how many were alive when the lists were made
    std::span<const int32_t> keywords;  // ascending; only those with postings
    std::span<const int64_t> starts;    // (keywords + 1,): list i is [starts[i], starts[i + 1])
    std::span<const int32_t> items;     // (postings,)
    std::span<const float> weights;     // (postings,)
    std::shared_ptr<const void> owner;  // keeps what the spans point at: vectors, or a mapped file

    Postings postings(int32_t keyword) const;
    int64_t nbytes() const;
};

// Lists of `rows`, which passed check_rows, as items first_id, first_id + 1, ... A keyword that an item has
// more than once counts once, with its weights summed in double and rounded to float; InputError if the sum
// overflows.
std::shared_ptr<const Segment> build_segment(const KeywordRows& rows, int64_t first_id,
                                             const Poll& poll = {});

// One segment in place of several that follow each other, without the postings of items not in `alive`
// (null: all are).
std::shared_ptr<const Segment> merge_segments(std::span<const std::shared_ptr<const Segment>> parts,
                                              const IdSet* alive, const Poll& poll = {});

}  // namespace mmsrarec
