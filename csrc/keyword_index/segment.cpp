#include "keyword_index/segment.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <string>
#include <vector>

#include "errors.hpp"
#include "row_starts.hpp"

namespace mmsrarec {
namespace {

constexpr int64_t kPostingsBetweenPolls = 1 << 20;

struct SegmentArrays {
    std::vector<int32_t> keywords;
    std::vector<int64_t> starts;
    std::vector<int32_t> items;
    std::vector<float> weights;
};

std::shared_ptr<const Segment> seal(std::shared_ptr<SegmentArrays> arrays, int64_t first_id, int64_t n_items,
                                    int64_t n_alive) {
    auto segment = std::make_shared<Segment>();
    segment->first_id = first_id;
    segment->n_items = n_items;
    segment->n_alive = n_alive;
    segment->keywords = arrays->keywords;
    segment->starts = arrays->starts;
    segment->items = arrays->items;
    segment->weights = arrays->weights;
    segment->owner = std::move(arrays);
    return segment;
}

std::string shortest(float number) {
    char text[32];
    std::snprintf(text, sizeof text, "%g", number);
    return text;
}

// Keyword id -> position in the sorted list of those that occur. A table when ids are dense enough to afford
// one, binary search when a few postings carry ids from a huge range.
class KeywordSlots {
  public:
    explicit KeywordSlots(std::span<const int32_t> occurrences) {
        const int32_t last = occurrences.empty() ? -1 : *std::ranges::max_element(occurrences);
        const size_t range = static_cast<size_t>(last) + 1;
        if (range <= 4 * occurrences.size() + 1024) {
            table_.assign(range, 0);
            for (int32_t keyword : occurrences) table_[keyword] = 1;
            int32_t slot = 0;
            for (size_t keyword = 0; keyword < range; ++keyword) {
                if (!table_[keyword]) continue;
                keywords.push_back(static_cast<int32_t>(keyword));
                table_[keyword] = slot++;
            }
        } else {
            keywords.assign(occurrences.begin(), occurrences.end());
            std::ranges::sort(keywords);
            keywords.erase(std::unique(keywords.begin(), keywords.end()), keywords.end());
        }
    }

    size_t operator[](int32_t keyword) const {
        if (!table_.empty()) return table_[keyword];
        return std::ranges::lower_bound(keywords, keyword) - keywords.begin();
    }

    std::vector<int32_t> keywords;

  private:
    std::vector<int32_t> table_;
};

// Makes one posting of each run of the same item within a list.
void sum_duplicates(SegmentArrays& arrays) {
    int64_t out = 0;
    for (size_t slot = 0; slot + 1 < arrays.starts.size(); ++slot) {
        int64_t in = arrays.starts[slot];
        const int64_t end = arrays.starts[slot + 1];
        arrays.starts[slot] = out;
        while (in < end) {
            const int32_t item = arrays.items[in];
            double sum = 0.0;
            for (; in < end && arrays.items[in] == item; ++in) sum += arrays.weights[in];
            if (sum > std::numeric_limits<float>::max()) {
                throw InputError("weights of keyword " + std::to_string(arrays.keywords[slot]) +
                                 ", given more than once for row " + std::to_string(item) +
                                 ", add up to more than float32 holds.");
            }
            arrays.items[out] = item;
            arrays.weights[out++] = static_cast<float>(sum);
        }
    }
    arrays.starts.back() = out;
    arrays.items.resize(out);
    arrays.weights.resize(out);
}

}  // namespace

void check_rows(const KeywordRows& rows, int64_t n_keywords, const Poll& poll) {
    if (rows.keywords.size() != rows.weights.size()) {
        throw InputError("weights has " + std::to_string(rows.weights.size()) + " entries, keywords has " +
                         std::to_string(rows.keywords.size()) + "; give one weight a keyword.");
    }
    check_row_starts(rows.indptr, rows.keywords.size(), "keywords");
    Pacer pacer(poll, kPostingsBetweenPolls);
    for (size_t i = 0; i < rows.keywords.size(); ++i) {
        if (rows.keywords[i] < 0 || rows.keywords[i] >= n_keywords) {
            throw InputError(at("keywords", i) + " = " + std::to_string(rows.keywords[i]) + " is unknown; " +
                             (n_keywords > 0
                                  ? "ids run from 0 to n_keywords - 1 = " + std::to_string(n_keywords - 1)
                                  : std::string("n_keywords is 0, so there are none")) +
                             ".");
        }
        if (!(rows.weights[i] > 0.0f) || std::isinf(rows.weights[i])) {
            throw InputError(at("weights", i) + " must be finite and above 0, got " +
                             shortest(rows.weights[i]) + ".");
        }
        pacer.advance(1);
    }
}

Postings Segment::postings(int32_t keyword) const {
    const auto found = std::ranges::lower_bound(keywords, keyword);
    if (found == keywords.end() || *found != keyword) return {};
    const size_t slot = found - keywords.begin();
    const size_t start = starts[slot], count = starts[slot + 1] - start;
    return {items.subspan(start, count), weights.subspan(start, count)};
}

int64_t Segment::nbytes() const {
    return keywords.size_bytes() + starts.size_bytes() + items.size_bytes() + weights.size_bytes();
}

std::shared_ptr<const Segment> build_segment(const KeywordRows& rows, int64_t first_id, const Poll& poll) {
    KeywordSlots slots(rows.keywords);
    if (poll) poll();
    auto arrays = std::make_shared<SegmentArrays>();
    const size_t n_lists = slots.keywords.size();
    arrays->starts.assign(n_lists + 1, 0);
    arrays->items.resize(rows.keywords.size());
    arrays->weights.resize(rows.keywords.size());
    for (int32_t keyword : rows.keywords) ++arrays->starts[slots[keyword] + 1];
    for (size_t slot = 0; slot < n_lists; ++slot) arrays->starts[slot + 1] += arrays->starts[slot];
    if (poll) poll();

    std::vector<int64_t> next(arrays->starts.begin(), arrays->starts.end() - 1);
    bool duplicates = false;
    Pacer pacer(poll, kPostingsBetweenPolls);
    for (int64_t row = 0; row < rows.size(); ++row) {
        for (int64_t entry = rows.indptr[row]; entry < rows.indptr[row + 1]; ++entry) {
            const size_t slot = slots[rows.keywords[entry]];
            const int64_t place = next[slot]++;
            duplicates |= place > arrays->starts[slot] && arrays->items[place - 1] == row;
            arrays->items[place] = static_cast<int32_t>(row);
            arrays->weights[place] = rows.weights[entry];
        }
        pacer.advance(rows.indptr[row + 1] - rows.indptr[row] + 1);
    }
    arrays->keywords = std::move(slots.keywords);
    if (duplicates) sum_duplicates(*arrays);
    return seal(std::move(arrays), first_id, rows.size(), rows.size());
}

std::shared_ptr<const Segment> merge_segments(std::span<const std::shared_ptr<const Segment>> parts,
                                              const IdSet* alive, const Poll& poll) {
    const int64_t first_id = parts.front()->first_id;
    const int64_t last_id = parts.back()->first_id + parts.back()->n_items;
    auto arrays = std::make_shared<SegmentArrays>();
    size_t most = 0;
    for (const auto& part : parts) {
        arrays->keywords.insert(arrays->keywords.end(), part->keywords.begin(), part->keywords.end());
        most += part->items.size();
    }
    std::ranges::sort(arrays->keywords);
    arrays->keywords.erase(std::unique(arrays->keywords.begin(), arrays->keywords.end()),
                           arrays->keywords.end());
    arrays->items.reserve(most);
    arrays->weights.reserve(most);

    Pacer pacer(poll, kPostingsBetweenPolls);
    arrays->starts.push_back(0);
    size_t kept = 0;
    for (int32_t keyword : arrays->keywords) {
        for (const auto& part : parts) {
            const Postings list = part->postings(keyword);
            const int64_t shift = part->first_id - first_id;
            for (size_t i = 0; i < list.items.size(); ++i) {
                if (alive && !alive->contains(part->first_id + list.items[i])) continue;
                arrays->items.push_back(static_cast<int32_t>(list.items[i] + shift));
                arrays->weights.push_back(list.weights[i]);
            }
            pacer.advance(static_cast<int64_t>(list.items.size()) + 1);
        }
        const int64_t end = static_cast<int64_t>(arrays->items.size());
        if (end == arrays->starts.back()) continue;  // every item that had it is gone
        arrays->keywords[kept++] = keyword;
        arrays->starts.push_back(end);
    }
    arrays->keywords.resize(kept);
    return seal(std::move(arrays), first_id, last_id - first_id,
                alive ? alive->count(first_id, last_id) : last_id - first_id);
}

}  // namespace mmsrarec
