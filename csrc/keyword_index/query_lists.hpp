// The lists of one query's keywords in a segment, and their postings in the window at hand.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "keyword_index/segment.hpp"

namespace mmsrarec {

struct QueryTerm {
    int32_t keyword;
    double weight;
};

// Terms in ascending keyword order, which is the order in which a score is summed; the weights of a keyword
// given more than once are summed in double, in the order given. The row has passed check_rows.
void append_query(std::span<const int32_t> keywords, std::span<const float> weights,
                  std::vector<QueryTerm>& terms);

class QueryLists {
  public:
    struct Term {
        const PostingList* list;
        const uint64_t* bits;  // of the list, or null
        int32_t index;         // of the list
        bool last;             // of its keyword's lists
        double weight;         // of the query
        double bound;          // weight times the greatest weight of the list
        int32_t first;         // of a whole list: its first posting in the window at hand
        Block block;           // its postings in the window at hand; of a whole list only their number
    };

    // Makes room for queries of up to `n_terms` terms and segments of up to `n_items` items.
    void reserve(size_t n_terms, int64_t n_items);

    // Takes up a query; the members below are about it from here on.
    void look_up(const Segment& segment, std::span<const QueryTerm> query);

    // All lists, in the order of the query; of one keyword, ascending weights.
    std::span<const Term> terms() const { return terms_; }
    int64_t n_postings() const { return n_postings_; }
    double greatest_bound() const { return greatest_bound_; }

    // Whether all products and sums stay far from where floats would round to zero or overflow.
    bool tame() const { return tame_; }

    // A score that at least `n` items have or exceed; 0 if none is known.
    double score_of_best(int64_t n) const;

    // All windows, those first whose postings weigh most: the best items are likely there.
    std::span<const int32_t> order_windows();

    // Points the terms at their postings in `window`; `next` is the window to come, -1 if there is none.
    void enter(int32_t window, int32_t next);
    int64_t n_in_window() const { return n_in_window_; }

    // Calls visit(offset, weight) for the postings of a term in the window at hand, ascending.
    template <typename Visit>
    void each_posting(const Term& term, const Visit& visit) const {
        const Block& block = term.block;
        if (term.list->whole) {
            for (int32_t i = term.first; i < term.first + block.count; ++i) {
                visit(segment_->positions[term.list->first + i] & (kWindow - 1),
                      segment_->weight(*term.list, i));
            }
        } else if (block.weights) {
            for (int32_t i = 0; i < block.count; ++i) visit(block.offsets[i], block.weights[i]);
        } else {
            const float weight = term.list->least;
            for (int32_t i = 0; i < block.count; ++i) visit(block.offsets[i], weight);
        }
    }

  private:
    const Segment* segment_ = nullptr;
    std::vector<Term> terms_;
    std::vector<int32_t> windows_;
    std::vector<double> mass_;  // of the postings in each window
    int64_t n_postings_ = 0;
    int64_t n_in_window_ = 0;
    double greatest_bound_ = 0.0;
    bool tame_ = true;
};

}  // namespace mmsrarec
