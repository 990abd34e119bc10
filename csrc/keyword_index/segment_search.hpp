// The best of one segment. How items are scored is known to segment_search.cpp alone.
#pragma once

#include <span>

#include "keyword_index/search.hpp"

namespace mmsrarec {

// Answers of more items are added up, not pruned.
constexpr int64_t kMostToPrune = 1 << 13;

// Leaves in scratch.hits, a heap, the best `k` of what it holds already and of the segment's items.
void search_segment(const Segment& segment, std::span<const QueryTerm> query, size_t k,
                    const IdSet* permitted, Scratch& scratch) noexcept;

}  // namespace mmsrarec
