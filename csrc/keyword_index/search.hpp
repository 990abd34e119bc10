// The top k of one query over a snapshot of the index.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "keyword_index/id_set.hpp"
#include "keyword_index/query_lists.hpp"
#include "keyword_index/segment.hpp"
#include "keyword_index/window_scan.hpp"

namespace mmsrarec {

// All of an index at one moment. Writers publish a new one; whoever holds an old one goes on undisturbed.
struct Snapshot {
    std::vector<std::shared_ptr<const Segment>> segments;  // each begins where the one before ends
    std::shared_ptr<const IdSet> alive;                    // null: no item was removed
    int64_t n_items = 0;                                   // ids given so far, removed ones included
    int64_t n_removed = 0;
    int64_t n_keywords = 0;
};

struct Hit {
    int64_t id;
    float score;
};

// Higher scores first, then smaller ids.
inline bool better(const Hit& a, const Hit& b) {
    return a.score > b.score || (a.score == b.score && a.id < b.id);
}

// Working memory of one search, kept and used again; clean between searches. About a megabyte, and a bit an
// item.
class Scratch {
  public:
    // Makes room for queries of up to `n_terms` terms, answers of up to `k`, and segments of up to `n_items`
    // items, so that searching allocates nothing.
    void reserve(size_t n_terms, int64_t k, int64_t n_items);

    std::vector<Hit> hits;  // the best so far, a heap with the worst in front; sorted at the end

  private:
    friend class SegmentSearch;

    // A list that is added to the levels by its bits, in the window at hand.
    struct Frequent {
        int32_t index;
        LevelledBits bits;
    };

    QueryLists lists_;
    std::vector<uint8_t> levels_;     // (kWindow,) zero where nothing was added
    std::vector<double> exact_sums_;  // (kWindow,) the same
    std::vector<uint16_t> places_;    // (kWindow,) of candidates
    std::vector<uint8_t> reached_;    // (kWindow,) levels at places_
    std::vector<uint16_t> held_;      // (kWindow,) of candidates that are in a list
    std::vector<uint64_t> chosen_;    // a bit for each position of the segment, when few are permitted
    std::vector<Frequent> frequent_;  // of the window at hand
    std::vector<LevelledBits> near_;  // of the stretch at hand
};

// The best `k` items that share a keyword with the query and are in `permitted` (null: all), best first, in
// scratch.hits. A score is the double sum of query weight * item weight in ascending keyword order, rounded
// to float; order and ties are those of the rounded scores. `scratch` was given room for the query and `k`.
void search_snapshot(const Snapshot& snapshot, std::span<const QueryTerm> query, int64_t k,
                     const IdSet* permitted, Scratch& scratch) noexcept;

}  // namespace mmsrarec
