#include "keyword_index/segment.hpp"

#include <bit>

#include "bits.hpp"

namespace mmsrarec {
namespace {

constexpr int64_t kPostingsBetweenPolls = 1 << 18;

// First place in [0, count) whose value is not below `value`, which may be `count`.
template <typename Number>
int32_t lower_bound(const Number* values, int32_t count, Number value) {
    const Number* first = values;
    while (count > 1) {
        const int32_t half = count / 2;
        first += first[half - 1] < value ? half : 0;
        count -= half;
    }
    return static_cast<int32_t>(first - values) + (count == 1 && *first < value);
}

template <typename Number>
int32_t find_in(const Number* values, int32_t count, Number value) {
    const int32_t place = lower_bound(values, count, value);
    return place < count && values[place] == value ? place : -1;
}

}  // namespace

void Segment::derive(const Poll& poll) {
    Pacer pacer(poll, kPostingsBetweenPolls);
    if (!ids.empty()) {
        position_of_.resize(ids.size());
        for (size_t position = 0; position < ids.size(); ++position) {
            position_of_[ids[position]] = static_cast<int32_t>(position);
            pacer.advance(1);
        }
    }
    bitmap_of_.assign(lists.size(), -1);
    int64_t n_bitmaps = 0;
    for (size_t list = 0; list < lists.size(); ++list) {
        if (has_bits(lists[list])) bitmap_of_[list] = static_cast<int32_t>(n_bitmaps++);
    }
    bits_.assign(n_bitmaps * words_per_bitmap(), 0);
    ranks_.assign(n_bitmaps * ranks_per_bitmap(), 0);
    for (size_t list = 0; list < lists.size(); ++list) {
        if (bitmap_of_[list] < 0) continue;
        uint64_t* const words = bits_.data() + bitmap_of_[list] * words_per_bitmap();
        for_each(lists[list], [&](int32_t position, float) { set_bit(words, position); });
        int32_t* const ranks = ranks_.data() + bitmap_of_[list] * ranks_per_bitmap();
        for (int64_t word = 0; word < words_per_bitmap(); ++word) {
            constexpr int64_t kWords = kRanked / 64;
            if (word % kWords == 0) ranks[word / kWords + 1] = ranks[word / kWords];
            ranks[word / kWords + 1] += std::popcount(words[word]);
        }
        pacer.advance(lists[list].count + words_per_bitmap());
    }
}

int32_t Segment::find(int32_t list, int32_t position) const {
    const PostingList& now = lists[list];
    if (now.whole) return find_in(positions.data() + now.first, now.count, position);
    if (const uint64_t* words = bits(list)) {
        if (!has_bit(words, position)) return -1;
        const int32_t ranked = position / kRanked;
        const int64_t since = count_bits(words + ranked * (kRanked / 64), position % kRanked);
        return ranks_[bitmap_of_[list] * ranks_per_bitmap() + ranked] + static_cast<int32_t>(since);
    }
    const Block part = block(now, position >> kWindowBits);
    const int32_t place = find_in(part.offsets, part.count, static_cast<uint16_t>(position & (kWindow - 1)));
    return place < 0 ? -1 : static_cast<int32_t>(part.offsets - (offsets.data() + now.first)) + place;
}

int64_t Segment::nbytes() const {
    return keywords.size_bytes() + tiers.size_bytes() + lists.size_bytes() + window_starts.size_bytes() +
           offsets.size_bytes() + positions.size_bytes() + weights.size_bytes() + ids.size_bytes() +
           std::span(position_of_).size_bytes() + std::span(bitmap_of_).size_bytes() +
           std::span(bits_).size_bytes() + std::span(ranks_).size_bytes();
}

std::shared_ptr<const Segment> seal(std::shared_ptr<SegmentArrays> arrays, int64_t first_id, int64_t n_items,
                                    int64_t n_alive, const Poll& poll) {
    auto segment = std::make_shared<Segment>();
    segment->first_id = first_id;
    segment->n_items = n_items;
    segment->n_alive = n_alive;
    segment->keywords = arrays->keywords;
    segment->tiers = arrays->tiers;
    segment->lists = arrays->lists;
    segment->window_starts = arrays->window_starts;
    segment->offsets = arrays->offsets;
    segment->positions = arrays->positions;
    segment->weights = arrays->weights;
    segment->ids = arrays->ids;
    segment->owner = std::move(arrays);
    segment->derive(poll);
    return segment;
}

}  // namespace mmsrarec
