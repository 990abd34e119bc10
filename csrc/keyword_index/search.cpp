#include "keyword_index/search.hpp"

#include <algorithm>

namespace mmsrarec {
namespace {

// Adds one list to the sums and returns how many items have been touched so far. Weights are positive floats,
// whose products never underflow in double, so a sum of 0 means "not touched yet".
size_t accumulate(const Postings& list, double weight, double* sums, int32_t* touched, size_t n_touched) {
    for (size_t i = 0; i < list.items.size(); ++i) {
        const int32_t item = list.items[i];
        touched[n_touched] = item;
        n_touched += sums[item] == 0.0;
        sums[item] += weight * static_cast<double>(list.weights[i]);
    }
    return n_touched;
}

// Keeps the best k as a heap with the worst of them in front.
void offer(const Hit& hit, size_t k, std::vector<Hit>& heap) {
    if (heap.size() < k) {
        heap.push_back(hit);
        std::ranges::push_heap(heap, better);
    } else {
        std::ranges::pop_heap(heap, better);
        heap.back() = hit;
        std::ranges::push_heap(heap, better);
    }
}

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

void Scratch::reserve(int64_t n_items, int64_t k) {
    if (static_cast<int64_t>(sums.size()) < n_items) {
        sums.resize(n_items, 0.0);
        touched.resize(n_items + 1);
    }
    hits.clear();
    hits.reserve(k);
}

void search_snapshot(const Snapshot& snapshot, std::span<const QueryTerm> query, int64_t k,
                     const IdSet* permitted, Scratch& scratch) noexcept {
    scratch.hits.clear();
    if (k == 0) return;
    double* const sums = scratch.sums.data();
    int32_t* const touched = scratch.touched.data();
    for (const auto& segment : snapshot.segments) {
        size_t n_touched = 0;
        for (const QueryTerm& term : query) {
            n_touched = accumulate(segment->postings(term.keyword), term.weight, sums, touched, n_touched);
        }
        for (size_t i = 0; i < n_touched; ++i) {
            const Hit hit{segment->first_id + touched[i], static_cast<float>(sums[touched[i]])};
            sums[touched[i]] = 0.0;
            const bool full = scratch.hits.size() == static_cast<size_t>(k);
            if (full && !better(hit, scratch.hits.front())) continue;
            if (permitted && !permitted->contains(hit.id)) continue;
            offer(hit, k, scratch.hits);
        }
    }
    std::ranges::sort_heap(scratch.hits, better);
}

}  // namespace mmsrarec
