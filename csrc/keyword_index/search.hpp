// The top k of one query over a snapshot of the index.
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

    // One list of a query's keyword.
    struct Term {
        const PostingList* list;
        const uint64_t* bits;  // of the list, or null
        uint32_t signature;    // that items in the list have; without meaning when there are bits
        int32_t index;         // of the list
        int32_t group;         // which keyword of the query it is of
        double weight;         // of the query
        float factor;          // the same, rounded
        float bound;           // factor times the greatest weight of the list
        int32_t next;          // of a whole list: its first posting in the window at hand, or after it
        Block block;           // of any other: its postings in the window at hand
        bool deferred;         // looked up for each candidate, not added to the sums
    };
    // The deferred lists of one keyword in the window at hand, terms [first, end).
    struct Group {
        int32_t first;
        int32_t end;
        float bound;
        float after;  // sum of the bounds of the groups after it in near_
    };
    struct Candidate {
        int32_t position;
        float score;  // rounded more than once: good to a few units of the last place a term
    };

    std::vector<float> sums_;         // (kWindow,) zero where nothing was added
    std::vector<double> exact_sums_;  // (kWindow,) the same
    std::vector<uint16_t> places_;    // (kWindow,)
    std::vector<float> values_;       // (kWindow,) sums at places_
    std::vector<float> reached_;      // (kWindow,) the same with bounds of deferred lists
    std::vector<uint64_t> chosen_;    // a bit for each position of the segment, when few are permitted
    std::vector<Term> terms_;         // in the order of the query; of one keyword, ascending weights
    std::vector<int32_t> cheapest_;   // terms, those that save most work for a little bound first
    std::vector<Group> groups_;       // of the window at hand
    std::vector<Group> near_;         // of the stretch at hand
    std::vector<float> best_;         // the greatest scores so far, a heap with the least in front
    std::vector<Candidate> buffer_;   // what may be among the best
};

// The best `k` items that share a keyword with the query and are in `permitted` (null: all), best first, in
// scratch.hits. A score is the double sum of query weight * item weight in ascending keyword order, rounded
// to float; order and ties are those of the rounded scores. `scratch` was given room for the query and `k`.
void search_snapshot(const Snapshot& snapshot, std::span<const QueryTerm> query, int64_t k,
                     const IdSet* permitted, Scratch& scratch) noexcept;

}  // namespace mmsrarec
