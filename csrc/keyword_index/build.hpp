// Making segments: from rows, and from other segments.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "keyword_index/id_set.hpp"
#include "keyword_index/keyword_rows.hpp"
#include "keyword_index/segment.hpp"
#include "poll.hpp"

namespace mmsrarec {

// Lists of `rows`, which passed check_rows, as items first_id, first_id + 1, ... A keyword that an item has
// more than once counts once, with its weights summed in double and rounded to float; InputError if the sum
// overflows. `n_alive` of the rows are items that are still there. Works on all cores that this process may
// use; the result does not depend on how many.
std::shared_ptr<const Segment> build_segment(const KeywordRows& rows, int64_t first_id, int64_t n_alive,
                                             const Poll& poll = {});

// One segment in place of several that follow each other, without the postings of items not in `alive`
// (null: all are).
std::shared_ptr<const Segment> merge_segments(std::span<const std::shared_ptr<const Segment>> parts,
                                              const IdSet* alive, const Poll& poll = {});

}  // namespace mmsrarec
