#include "keyword_index/search.hpp"

#include <algorithm>

#include "keyword_index/segment_search.hpp"

namespace mmsrarec {
namespace {

// What a search may keep besides twice the answer before it looks through what it keeps.
constexpr size_t kRoomBesides = 1024;

}  // namespace

void append_query(std::span<const int32_t> keywords, std::span<const float> weights,
                  std::vector<QueryTerm>& terms) {
    const size_t first = terms.size();
    for (size_t i = 0; i < keywords.size(); ++i) terms.push_back({keywords[i], weights[i]});
    std::stable_sort(terms.begin() + first, terms.end(),
                     [](const QueryTerm& a, const QueryTerm& b) { return a.keyword < b.keyword; });
    size_t out = first;
    for (size_t in = first; in < terms.size(); ++in) {
        if (out > first && terms[out - 1].keyword == terms[in].keyword) {
            terms[out - 1].weight += terms[in].weight;
        } else {
            terms[out++] = terms[in];
        }
    }
    terms.resize(out);
}

void Scratch::reserve(size_t n_terms, int64_t k, int64_t n_items) {
    const auto n_words = static_cast<size_t>((n_items + kWindow - 1) / kWindow * (kWindow / 64));
    chosen_.resize(std::max(chosen_.size(), n_words), 0);
    sums_.resize(kWindow, 0.0f);
    exact_sums_.resize(kWindow, 0.0);
    places_.resize(kWindow);
    values_.resize(kWindow);
    reached_.resize(kWindow);
    terms_.reserve(n_terms * kMostTiers);
    cheapest_.reserve(n_terms * kMostTiers);
    groups_.reserve(n_terms);
    near_.reserve(n_terms);
    best_.reserve(std::min(k, kMostToPrune));
    buffer_.reserve(2 * std::min(k, kMostToPrune) + kRoomBesides);
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
