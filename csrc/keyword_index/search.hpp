// The top k of one query over a snapshot of the index. How items are scored is known to search.cpp alone.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "keyword_index/id_set.hpp"
#include "keyword_index/segment.hpp"

namespace mmsrarec {

// All of an index at one moment. Writers publish a new one; whoever holds an old one goes on undisturbed.
struct Snapshot {
    std::vector<std::shared_ptr<const Segment>> segments;  // each begins where the one before ends
    std::shared_ptr<const IdSet> alive;                    // null: no item was removed
    int64_t n_items = 0;                                   // ids given so far, removed ones included
    int64_t n_removed = 0;
    int64_t n_keywords = 0;
};

struct QueryTerm {
    int32_t keyword;
    double weight;
};

// Terms in ascending keyword order, which is the order in which a score is summed; the weights of a keyword
// given more than once are summed in double, in the order given. The row has passed check_rows.
void append_query(std::span<const int32_t> keywords, std::span<const float> weights,
                  std::vector<QueryTerm>& terms);

struct Hit {
    int64_t id;
    float score;
};

// Higher scores first, then smaller ids.
inline bool better(const Hit& a, const Hit& b) {
    return a.score > b.score || (a.score == b.score && a.id < b.id);
}

// Working memory of one search, kept and used again; clean between searches.
class Scratch {
  public:
    // Makes room for segments of up to `n_items` items and answers of up to `k`, so that searching allocates
    // nothing.
    void reserve(int64_t n_items, int64_t k);

    std::vector<double> sums;      // (n_items,) zero where nothing was added
    std::vector<int32_t> touched;  // (n_items + 1,)
    std::vector<Hit> hits;
};

// The best `k` items that share a keyword with the query and are in `permitted` (null: all), best first, in
// scratch.hits. A score is the double sum of query weight * item weight in ascending keyword order, rounded
// to float; order and ties are those of the rounded scores. `scratch` was given room for the largest segment
// and `k`.
void search_snapshot(const Snapshot& snapshot, std::span<const QueryTerm> query, int64_t k,
                     const IdSet* permitted, Scratch& scratch) noexcept;

}  // namespace mmsrarec
