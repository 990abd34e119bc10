#include "keyword_index/search.hpp"

#include <algorithm>

#include "keyword_index/segment_search.hpp"

namespace mmsrarec {

void Scratch::reserve(size_t n_terms, int64_t k, int64_t n_items) {
    const auto n_words = static_cast<size_t>((n_items + kWindow - 1) / kWindow * (kWindow / 64));
    chosen_.resize(std::max(chosen_.size(), n_words), 0);
    levels_.resize(kWindow, 0);
    exact_sums_.resize(kWindow, 0.0);
    places_.resize(kWindow);
    reached_.resize(kWindow);
    held_.resize(kWindow);
    lists_.reserve(n_terms, n_items);
    frequent_.reserve(n_terms * kMostTiers);
    near_.reserve(n_terms * kMostTiers);
    hits.clear();
    hits.reserve(k);
}

void search_snapshot(const Snapshot& snapshot, std::span<const QueryTerm> query, int64_t k,
                     const IdSet* permitted, Scratch& scratch) noexcept {
    scratch.hits.clear();
    if (k == 0) return;
    for (const auto& segment : snapshot.segments) {
        search_segment(*segment, query, static_cast<size_t>(k), permitted, scratch);
    }
    std::ranges::sort_heap(scratch.hits, better);
}

}  // namespace mmsrarec
