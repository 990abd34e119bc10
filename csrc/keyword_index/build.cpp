#include "keyword_index/build.hpp"

#include <array>
#include <bit>
#include <limits>
#include <numeric>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "errors.hpp"
#include "parallel.hpp"

namespace mmsrarec {
namespace {

constexpr int64_t kPostingsBetweenPolls = 1 << 18;
constexpr int64_t kSlotsAtOnce = 256;
constexpr int64_t kMostThreads = 16;
constexpr int64_t kPostingsPerThread = 1 << 20;  // below it, starting a thread costs more than it saves

// Of the most frequent keywords, how many decide which items are put next to each other, and how frequent
// they must at least be: one item in so many.
constexpr size_t kSimilarityKeywords = 16;
constexpr int64_t kItemsPerKeyword = 64;

// A list shorter than this is not split by weight: there is too little to pass over.
constexpr int32_t kFewestToSplit = 2048;
// One tier more must lower the sum of the bounds of all postings to this part of it.
constexpr double kWorthATier = 0.97;

// Keyword id -> position in the sorted list of those that occur. A table when ids are dense enough to afford
// one, binary search when a few postings carry ids from a huge range.
class KeywordSlots {
  public:
    KeywordSlots(std::span<const int32_t> occurrences, const Poll& poll) {
        Pacer pacer(poll, kPostingsBetweenPolls);
        int32_t last = -1;
        for (int32_t keyword : occurrences) last = std::max(last, keyword), pacer.advance(1);
        const size_t range = static_cast<size_t>(last) + 1;
        if (range <= 4 * occurrences.size() + 1024) {
            table_.assign(range, 0);
            for (int32_t keyword : occurrences) table_[keyword] = 1, pacer.advance(1);
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

// Postings of every keyword, positions ascending: slot i has [starts[i], starts[i + 1]).
struct PlainLists {
    std::vector<int64_t> starts;
    std::unique_ptr<int32_t[]> positions;
    std::unique_ptr<float[]> weights;
};

// How the postings of one keyword are split: those up to most[0], then those up to most[1], ...
struct Tiers {
    int32_t size = 0;
    std::array<float, kMostTiers> least;
    std::array<float, kMostTiers> most;
    std::array<int32_t, kMostTiers> count;
};

// Which row comes first, second, ...: those that share the most frequent keyword, of these those that share
// the second, and so on; equal ones in the order given. Empty when one window holds all rows anyway.
std::vector<int32_t> similar_together(const KeywordRows& rows, const KeywordSlots& slots,
                                      const std::vector<int64_t>& starts, const Poll& poll) {
    if (rows.size() <= kWindow) return {};
    const auto frequency = [&](int32_t slot) { return starts[slot + 1] - starts[slot]; };
    std::vector<int32_t> frequent;
    for (int32_t slot = 0; slot < static_cast<int32_t>(slots.keywords.size()); ++slot) {
        if (frequency(slot) * kItemsPerKeyword >= rows.size()) frequent.push_back(slot);
    }
    std::ranges::stable_sort(frequent, [&](int32_t a, int32_t b) { return frequency(a) > frequency(b); });
    if (frequent.size() > kSimilarityKeywords) frequent.resize(kSimilarityKeywords);
    std::vector<uint8_t> bit_of(slots.keywords.size(), 0);
    for (size_t rank = 0; rank < frequent.size(); ++rank) {
        bit_of[frequent[rank]] = static_cast<uint8_t>(kSimilarityKeywords - rank);
    }

    // A counting sort by the set of frequent keywords, all of them first.
    constexpr uint32_t kSets = 1u << kSimilarityKeywords;
    std::vector<uint16_t> sets(rows.size(), 0);
    std::vector<int32_t> next(kSets + 1, 0);
    Pacer pacer(poll, kPostingsBetweenPolls);
    for (int64_t row = 0; row < rows.size(); ++row) {
        uint32_t set = 0;
        for (int64_t entry = rows.indptr[row]; entry < rows.indptr[row + 1]; ++entry) {
            const uint8_t bit = bit_of[slots[rows.keywords[entry]]];
            set |= (1u << bit) >> 1;
        }
        sets[row] = static_cast<uint16_t>(kSets - 1 - set);
        ++next[sets[row] + 1];
        pacer.advance(rows.indptr[row + 1] - rows.indptr[row] + 1);
    }
    std::partial_sum(next.begin(), next.end(), next.begin());
    std::vector<int32_t> order(rows.size());
    for (int64_t row = 0; row < rows.size(); ++row) order[next[sets[row]]++] = static_cast<int32_t>(row);
    return order;
}

// Makes one posting of each run of the same position within a list.
void sum_duplicates(PlainLists& lists, std::span<const int32_t> keywords, std::span<const int32_t> order) {
    int64_t out = 0;
    for (size_t slot = 0; slot + 1 < lists.starts.size(); ++slot) {
        int64_t in = lists.starts[slot];
        const int64_t end = lists.starts[slot + 1];
        lists.starts[slot] = out;
        while (in < end) {
            const int32_t position = lists.positions[in];
            double sum = 0.0;
            for (; in < end && lists.positions[in] == position; ++in) sum += lists.weights[in];
            if (sum > std::numeric_limits<float>::max()) {
                throw InputError("weights of keyword " + std::to_string(keywords[slot]) +
                                 ", given more than once for row " +
                                 std::to_string(order.empty() ? position : order[position]) +
                                 ", add up to more than float32 holds.");
            }
            lists.positions[out] = position;
            lists.weights[out++] = static_cast<float>(sum);
        }
    }
    lists.starts.back() = out;
}

PlainLists invert(const KeywordRows& rows, const KeywordSlots& slots, std::vector<int32_t>& order,
                  const Poll& poll) {
    PlainLists lists;
    lists.starts.assign(slots.keywords.size() + 1, 0);
    Pacer pacer(poll, kPostingsBetweenPolls);
    for (int32_t keyword : rows.keywords) ++lists.starts[slots[keyword] + 1], pacer.advance(1);
    std::partial_sum(lists.starts.begin(), lists.starts.end(), lists.starts.begin());
    order = similar_together(rows, slots, lists.starts, poll);
    const size_t postings = rows.keywords.size();
    lists.positions = std::make_unique_for_overwrite<int32_t[]>(postings);
    lists.weights = std::make_unique_for_overwrite<float[]>(postings);

    std::vector<int64_t> next(lists.starts.begin(), lists.starts.end() - 1);
    bool duplicates = false;
    for (int64_t position = 0; position < rows.size(); ++position) {
        const int64_t row = order.empty() ? position : order[position];
        for (int64_t entry = rows.indptr[row]; entry < rows.indptr[row + 1]; ++entry) {
            const size_t slot = slots[rows.keywords[entry]];
            const int64_t place = next[slot]++;
            duplicates |= place > lists.starts[slot] && lists.positions[place - 1] == position;
            lists.positions[place] = static_cast<int32_t>(position);
            lists.weights[place] = rows.weights[entry];
        }
        pacer.advance(rows.indptr[row + 1] - rows.indptr[row] + 1);
    }
    if (duplicates) sum_duplicates(lists, slots.keywords, order);
    return lists;
}

// Splits weights so that the sum over all postings of the bound of their tier is least, by dynamic
// programming over buckets of an eighth of an octave below the greatest weight. Only bits are bound by their
// tier, so a tier has bits, or equal weights, or is the greatest, which is best added posting by posting.
Tiers split(std::span<const float> weights, int64_t fewest_in_tier) {
    constexpr int kBuckets = 64, kBitsBelowBucket = 20;
    float greatest = 0.0f, least = std::numeric_limits<float>::max();
    for (float weight : weights) greatest = std::max(greatest, weight), least = std::min(least, weight);
    const auto count = static_cast<int32_t>(weights.size());
    if (count < kFewestToSplit || least == greatest) return {1, {least}, {greatest}, {count}};

    // Bucket 0 has the greatest weights.
    std::array<int32_t, kBuckets> counts{};
    std::array<float, kBuckets> most{}, fewest{};
    fewest.fill(std::numeric_limits<float>::max());
    const uint32_t top = std::bit_cast<uint32_t>(greatest) >> kBitsBelowBucket;
    for (float weight : weights) {
        const uint32_t below = top - (std::bit_cast<uint32_t>(weight) >> kBitsBelowBucket);
        const uint32_t bucket = std::min<uint32_t>(below, kBuckets - 1);
        ++counts[bucket];
        most[bucket] = std::max(most[bucket], weight);
        fewest[bucket] = std::min(fewest[bucket], weight);
    }
    // sums[m][e]: least sum of bounds when the first e buckets make m tiers; from[m][e]: where the last
    // begins.
    std::array<std::array<double, kBuckets + 1>, kMostTiers + 1> sums;
    std::array<std::array<int, kBuckets + 1>, kMostTiers + 1> from{};
    for (auto& row : sums) row.fill(std::numeric_limits<double>::infinity());
    sums[0][0] = 0.0;
    for (int tier = 1; tier <= kMostTiers; ++tier) {
        for (int end = 1; end <= kBuckets; ++end) {
            double inside = 0.0, bound = 0.0, low = std::numeric_limits<double>::max();
            for (int begin = end - 1; begin >= 0; --begin) {
                inside += counts[begin];
                bound = std::max<double>(bound, most[begin]);
                low = std::min<double>(low, fewest[begin]);
                if (begin > 0 && inside > 0 && inside < fewest_in_tier && low != bound) continue;
                const double sum = sums[tier - 1][begin] + inside * bound;
                if (sum < sums[tier][end]) sums[tier][end] = sum, from[tier][end] = begin;
            }
        }
    }
    int tiers = 1;
    while (tiers < kMostTiers && sums[tiers + 1][kBuckets] < kWorthATier * sums[tiers][kBuckets]) ++tiers;
    Tiers split;
    for (int end = kBuckets; tiers > 0; --tiers) {
        const int begin = from[tiers][end];
        int32_t inside = 0;
        float low = std::numeric_limits<float>::max(), high = 0.0f;
        for (int bucket = begin; bucket < end; ++bucket) {
            inside += counts[bucket];
            low = std::min(low, fewest[bucket]);
            high = std::max(high, most[bucket]);
        }
        end = begin;
        if (inside == 0) continue;
        split.least[split.size] = low;
        split.most[split.size] = high;
        split.count[split.size++] = inside;
    }
    return split;
}

// Lays out the lists of every keyword one after the other and makes room for them.
void lay_out(const std::vector<Tiers>& tiers, int64_t n_windows, SegmentArrays& arrays) {
    int64_t n_offsets = 0, n_positions = 0, n_weights = 0, n_window_starts = 0;
    arrays.tiers.push_back(0);
    for (const Tiers& keyword : tiers) {
        for (int32_t tier = 0; tier < keyword.size; ++tier) {
            const int32_t count = keyword.count[tier];
            const float least = keyword.least[tier], most = keyword.most[tier];
            // A table takes four bytes a window, whole positions two bytes a posting more.
            const bool whole = n_windows > 1 && count < 2 * (n_windows + 1);
            arrays.lists.push_back({whole ? n_positions : n_offsets, least == most ? 0 : n_weights,
                                    whole || n_windows == 1 ? 0 : n_window_starts, count, whole, least,
                                    most});
            (whole ? n_positions : n_offsets) += count;
            if (least != most) n_weights += count;
            if (!whole && n_windows > 1) n_window_starts += n_windows + 1;
        }
        arrays.tiers.push_back(static_cast<int32_t>(arrays.lists.size()));
    }
    arrays.offsets.resize(n_offsets);
    arrays.positions.resize(n_positions);
    arrays.weights.resize(n_weights);
    arrays.window_starts.resize(n_window_starts);
}

// Writes the postings of one keyword into its lists.
void fill(std::span<const int32_t> positions, std::span<const float> weights, int32_t n_windows,
          std::span<const PostingList> lists, SegmentArrays& arrays) {
    std::array<int32_t, kMostTiers> written{};
    std::array<int32_t, kMostTiers> window{};
    const auto close_windows = [&](size_t tier, int32_t next_window) {
        const PostingList& list = lists[tier];
        if (list.whole || n_windows == 1) return;
        while (window[tier] < next_window) {
            arrays.window_starts[list.windows + ++window[tier]] = written[tier];
        }
    };
    for (size_t i = 0; i < positions.size(); ++i) {
        size_t tier = 0;
        while (weights[i] > lists[tier].most) ++tier;
        const PostingList& list = lists[tier];
        close_windows(tier, positions[i] >> kWindowBits);
        const int32_t place = written[tier]++;
        if (list.whole) {
            arrays.positions[list.first + place] = positions[i];
        } else {
            arrays.offsets[list.first + place] = static_cast<uint16_t>(positions[i] & (kWindow - 1));
        }
        if (!list.constant()) arrays.weights[list.weights + place] = weights[i];
    }
    for (size_t tier = 0; tier < lists.size(); ++tier) close_windows(tier, n_windows);
}

}  // namespace

std::shared_ptr<const Segment> build_segment(const KeywordRows& rows, int64_t first_id, int64_t n_alive,
                                             const Poll& poll) {
    KeywordSlots slots(rows.keywords, poll);
    auto arrays = std::make_shared<SegmentArrays>();
    const PlainLists plain = invert(rows, slots, arrays->ids, poll);
    arrays->keywords = std::move(slots.keywords);
    const auto n_slots = static_cast<int64_t>(arrays->keywords.size());
    const int64_t n_windows = (rows.size() + kWindow - 1) >> kWindowBits;
    const int64_t postings = plain.starts.back();
    const int64_t cores = std::min<int64_t>(kMostThreads, std::thread::hardware_concurrency());
    const int64_t threads =
        std::clamp<int64_t>(postings / kPostingsPerThread, 1, std::max<int64_t>(1, cores));
    const auto each_slot = [&](const auto& work) {
        if (threads > 1) {
            run_polled(n_slots, kSlotsAtOnce, threads, poll, [&](int64_t, int64_t slot) { work(slot); });
        } else {
            for (int64_t slot = 0; slot < n_slots; ++slot) work(slot);
        }
    };
    const auto slice = [&](const auto& values, int64_t slot) {
        const int64_t start = plain.starts[slot];
        return std::span(values.get() + start, static_cast<size_t>(plain.starts[slot + 1] - start));
    };

    std::vector<Tiers> tiers(n_slots);
    each_slot([&](int64_t slot) {
        tiers[slot] = split(slice(plain.weights, slot),
                            Segment::fewest_for_bits(rows.size(), Segment::kPositionsIfLoose));
    });
    lay_out(tiers, n_windows, *arrays);
    each_slot([&](int64_t slot) {
        const int32_t first = arrays->tiers[slot], end = arrays->tiers[slot + 1];
        fill(slice(plain.positions, slot), slice(plain.weights, slot), static_cast<int32_t>(n_windows),
             std::span<const PostingList>(arrays->lists).subspan(first, end - first), *arrays);
    });
    return seal(std::move(arrays), first_id, rows.size(), n_alive, poll);
}

std::shared_ptr<const Segment> merge_segments(std::span<const std::shared_ptr<const Segment>> parts,
                                              const IdSet* alive, const Poll& poll) {
    const int64_t first_id = parts.front()->first_id;
    const int64_t last_id = parts.back()->first_id + parts.back()->n_items;
    std::vector<int64_t> indptr(last_id - first_id + 1, 0);
    Pacer pacer(poll, kPostingsBetweenPolls);
    const auto each_posting = [&](const auto& visit) {
        for (const auto& part : parts) {
            for (size_t slot = 0; slot < part->keywords.size(); ++slot) {
                for (int32_t list = part->tiers[slot]; list < part->tiers[slot + 1]; ++list) {
                    part->for_each(part->lists[list], [&](int32_t position, float weight) {
                        const int64_t id = part->id_at(position);
                        if (!alive || alive->contains(id)) visit(id - first_id, part->keywords[slot], weight);
                    });
                    pacer.advance(part->lists[list].count + 1);
                }
            }
        }
    };
    each_posting([&](int64_t row, int32_t, float) { ++indptr[row + 1]; });
    std::partial_sum(indptr.begin(), indptr.end(), indptr.begin());
    std::vector<int64_t> next(indptr.begin(), indptr.end() - 1);
    std::vector<int32_t> keywords(indptr.back());
    std::vector<float> weights(indptr.back());
    each_posting([&](int64_t row, int32_t keyword, float weight) {
        const int64_t entry = next[row]++;
        keywords[entry] = keyword;
        weights[entry] = weight;
    });
    const int64_t n_alive = alive ? alive->count(first_id, last_id) : last_id - first_id;
    return build_segment({indptr, keywords, weights}, first_id, n_alive, poll);
}

}  // namespace mmsrarec
