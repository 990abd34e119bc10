// Weighted keywords of items or queries, as callers give them.
#pragma once

#include <cstdint>
#include <span>

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

}  // namespace mmsrarec
