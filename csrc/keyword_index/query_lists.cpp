#include "keyword_index/query_lists.hpp"

#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>

#include "prefetch.hpp"

namespace mmsrarec {
namespace {

// Bounds (segment_search.cpp) are scaled in floats; products in this range, and one divided by another, are
// far from where floats round to zero or overflow.
constexpr double kLeastTrusted = 1e-15, kMostTrusted = 1e15;

// The beginning of a block is where no machine expects the next read.
void prefetch_block(const Block& block) {
    constexpr int32_t kOffsetsPerLine = 32, kWeightsPerLine = 16;
    for (int32_t i = 0; i < block.count; i += kOffsetsPerLine) prefetch(block.offsets + i);
    if (!block.weights) return;
    for (int32_t i = 0; i < block.count; i += kWeightsPerLine) prefetch(block.weights + i);
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

void QueryLists::reserve(size_t n_terms, int64_t n_items) {
    const auto n_windows = static_cast<size_t>((n_items + kWindow - 1) >> kWindowBits);
    terms_.reserve(n_terms * kMostTiers);
    windows_.reserve(n_windows);
    mass_.reserve(n_windows);
}

void QueryLists::look_up(const Segment& segment, std::span<const QueryTerm> query) {
    segment_ = &segment;
    terms_.clear();
    n_postings_ = 0;
    greatest_bound_ = 0.0;
    double least = std::numeric_limits<double>::max(), most = 0.0;
    for (const QueryTerm& asked : query) {
        const auto [first, end] = segment.lists_of(asked.keyword);
        for (int32_t index = first; index < end; ++index) {
            const PostingList* list = &segment.lists[index];
            terms_.push_back({.list = list,
                              .bits = segment.bits(index),
                              .index = index,
                              .last = index + 1 == end,
                              .weight = asked.weight,
                              .bound = asked.weight * list->most,
                              .first = 0,
                              .block = {}});
            n_postings_ += list->count;
            greatest_bound_ = std::max(greatest_bound_, terms_.back().bound);
            least = std::min({least, asked.weight, asked.weight * list->least});
            most = std::max({most, asked.weight, asked.weight * list->most});
        }
    }
    tame_ = least > kLeastTrusted && most < kMostTrusted;
}

double QueryLists::score_of_best(int64_t n) const {
    double score = 0.0;
    int64_t above = 0;
    for (auto term = terms_.rbegin(); term != terms_.rend(); ++term) {
        if (term->last) above = 0;
        above += term->list->count;
        if (above >= n) score = std::max(score, term->weight * term->list->least);
    }
    return score;
}

std::span<const int32_t> QueryLists::order_windows() {
    const int32_t n_windows = segment_->n_windows();
    windows_.resize(n_windows);
    std::iota(windows_.begin(), windows_.end(), 0);
    mass_.assign(n_windows, 0.0);
    for (const Term& term : terms_) {
        if (term.list->whole || n_windows == 1) continue;
        const int32_t* starts = segment_->window_starts.data() + term.list->windows;
        for (int32_t window = 0; window < n_windows; ++window) {
            mass_[window] += term.bound * (starts[window + 1] - starts[window]);
        }
    }
    std::ranges::sort(windows_, std::greater{}, [&](int32_t window) { return mass_[window]; });
    return windows_;
}

void QueryLists::enter(int32_t window, int32_t next) {
    n_in_window_ = 0;
    for (Term& term : terms_) {
        if (term.list->whole) {
            const auto all = segment_->positions.subspan(term.list->first, term.list->count);
            const auto window_of = [](int32_t position) { return position >> kWindowBits; };
            const auto inside = std::ranges::equal_range(all, window, {}, window_of);
            term.first = static_cast<int32_t>(inside.begin() - all.begin());
            term.block.count = static_cast<int32_t>(inside.size());
        } else {
            term.block = segment_->block(*term.list, window);
            if (next >= 0 && !term.bits) prefetch_block(segment_->block(*term.list, next));
        }
        n_in_window_ += term.block.count;
    }
}

}  // namespace mmsrarec
