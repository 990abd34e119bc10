// One segment is searched window by window (segment.hpp). Adding up all postings of a query would be exact
// and simple, and is what happens when nothing can be gained by more (`add_up_window`). Otherwise
// (`prune_window`), with `floor_` a score that an item must reach to be among the best k:
//
// First, every position of the window gets a bound of its score, in whole levels of one byte. Postings of
// rare keywords are added one by one; lists with bits, 64 positions at a time (window_scan.hpp).
//
// Second, positions whose bound reaches the floor are scored by the definition, those of the greatest bounds
// first, since each answer raises the floor for the rest.
//
// Windows come in the order of what their postings weigh, so that the floor is near its end after the first.
// Levels only ever decide what is scored, and are rounded up; they never decide what is answered.
#include "keyword_index/segment_search.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "bits.hpp"
#include "bounded_heap.hpp"
#include "keyword_index/query_lists.hpp"
#include "keyword_index/window_scan.hpp"
#include "prefetch.hpp"

namespace mmsrarec {
namespace {

// Pruning pays while the answer is a small part of the items.
constexpr int64_t kItemsPerAnswer = 32;
// With fewer postings than this in all, adding them up is done before pruning has begun.
constexpr int64_t kFewPostings = 2048;
// Touching a position again costs as much as reading so many untouched ones.
constexpr int32_t kSumsPerPosting = 8;
// A list with fewer postings in a window is added one by one, whether it has bits or not.
constexpr int32_t kFewInWindow = 256;
// Looking an item up in a list costs as much as passing over so many of its postings; with bits, and in all
// lists to score a permitted item.
constexpr int32_t kPostingsPerSearch = 64, kPostingsPerBit = 4;
constexpr int64_t kPostingsPerLookup = 128;
// With so few items permitted, one in so many, the others are passed over while reading the levels.
constexpr int64_t kItemsPerChosen = 64;
// With more candidates in a window, near-ties without number, adding it up is less work.
constexpr int32_t kMostCandidates = kWindow / 8;
// The level of the floor: there is some room above it, since it rises. While fewer than k answers are known,
// the floor is far below where it will end.
constexpr double kFloorLevel = 230.0, kGuessLevel = 64.0;
// While guessing: levels below this part of the k-th are left out; when all k are at the most, the level of
// the floor is halved, so often at most.
constexpr uint8_t kMostGuess = kMostLevel * 7 / 8;
constexpr int kMostHalvings = 6;
// Levels are so much too great that rounding in float cannot make one too small.
constexpr double kRoundedUp = 1.0 + 0x1p-16;

}  // namespace

class SegmentSearch {
  public:
    SegmentSearch(const Segment& segment, std::span<const QueryTerm> query, size_t k, const IdSet* permitted,
                  Scratch& scratch)
        : segment_(segment), k_(k), permitted_(permitted), scratch_(scratch), lists_(scratch.lists_) {
        lists_.look_up(segment, query);
    }

    void run() {
        if (lists_.n_postings() == 0) return;
        n_permitted_ = segment_.n_items;
        if (permitted_) {
            n_permitted_ = permitted_->count(segment_.first_id, segment_.first_id + segment_.n_items);
            const auto lookups = n_permitted_ * static_cast<int64_t>(lists_.terms().size());
            if (lookups * kPostingsPerLookup < lists_.n_postings()) return score_permitted();
        }
        const auto k = static_cast<int64_t>(k_);
        const bool pruning = lists_.tame() && k <= kMostToPrune && k * kItemsPerAnswer <= segment_.n_items &&
                             lists_.n_postings() > kFewPostings;
        if (pruning) {
            // All that is refused may be among the best of a list.
            floor_ = lists_.score_of_best(k + segment_.n_items - n_permitted_);
            raise_floor();
            choosing_ = n_permitted_ * kItemsPerChosen <= segment_.n_items;
            asking_ = permitted_ && !choosing_;
            if (choosing_) choose_permitted();
        }
        const auto windows = lists_.order_windows();
        for (size_t i = 0; i < windows.size(); ++i) {
            lists_.enter(windows[i], i + 1 < windows.size() ? windows[i + 1] : -1);
            first_ = windows[i] << kWindowBits;
            if (lists_.n_in_window() == 0) continue;
            if (pruning) {
                prune_window();
            } else {
                add_up_window();
            }
        }
        if (choosing_) std::ranges::fill(scratch_.chosen_, 0);
    }

  private:
    using Term = QueryLists::Term;

    void raise_floor() {
        if (scratch_.hits.size() == k_) floor_ = std::max<double>(floor_, scratch_.hits.front().score);
    }

    bool permitted(int32_t position) const {
        return !permitted_ || permitted_->contains(segment_.id_at(position));
    }

    void choose_permitted() {
        permitted_->for_each(segment_.first_id, segment_.first_id + segment_.n_items,
                             [&](int64_t id) { set_bit(scratch_.chosen_.data(), segment_.position_of(id)); });
    }

    // Scores every item of the window by the definition. Weights are positive floats, whose products never
    // underflow in double, so a sum of 0 means that an item was not touched.
    void add_up_window() {
        double* const sums = scratch_.exact_sums_.data();
        for (const Term& term : lists_.terms()) {
            lists_.each_posting(term, [&](int32_t offset, float weight) {
                sums[offset] += term.weight * static_cast<double>(weight);
            });
        }
        const auto take = [&](int32_t offset) {
            const double sum = std::exchange(sums[offset], 0.0);
            if (sum > 0.0 && permitted(first_ + offset)) answer(first_ + offset, sum);
        };
        if (lists_.n_in_window() * kSumsPerPosting < kWindow) {
            for (const Term& term : lists_.terms()) {
                lists_.each_posting(term, [&](int32_t offset, float) { take(offset); });
            }
        } else {
            const auto count = static_cast<int32_t>(std::min<int64_t>(kWindow, segment_.n_items - first_));
            for (int32_t offset = 0; offset < count; ++offset) take(offset);
        }
        raise_floor();
    }

    void answer(int32_t position, double sum) {
        const auto score = static_cast<float>(sum);
        if (scratch_.hits.size() == k_ && score < scratch_.hits.front().score) return;
        offer(Hit{segment_.id_at(position), score}, k_, scratch_.hits, better);
    }

    void prune_window() {
        const bool guessing = scratch_.hits.size() < k_ || floor_ == 0.0;
        levels_per_score_ =
            guessing ? kGuessLevel / (floor_ > 0.0 ? floor_ : lists_.greatest_bound()) : kFloorLevel / floor_;
        uint8_t least = threshold();
        int32_t n = find_candidates(least, guessing);
        for (int halved = 0; guessing && least == kMostGuess && halved < kMostHalvings; ++halved) {
            levels_per_score_ /= 2.0;
            least = threshold();
            n = find_candidates(least, guessing);
        }
        if (n > kMostCandidates) return add_up_window();
        answer_candidates(n);
        if (threshold() >= least) return;
        // The guess was too high.
        uint8_t lower = threshold();
        n = find_candidates(lower, false);
        answer_candidates(keep(0, n, [&](int32_t i) { return scratch_.reached_[i] < least; }));
    }

    // The level of a score that is at most `bound`.
    uint8_t level_of(double bound) const {
        return static_cast<uint8_t>(std::min(bound * levels_per_score_ * kRoundedUp, kMostLevel - 1.0) + 1.0);
    }

    // What the levels of a position that can be answered are at least.
    uint8_t threshold() const {
        return static_cast<uint8_t>(std::clamp(floor_ * levels_per_score_, 1.0, double{kMostLevel}));
    }

    void add_levels(const Term& term) {
        uint8_t* const levels = scratch_.levels_.data();
        const auto add = [levels](int32_t offset, int32_t level) {
            levels[offset] = static_cast<uint8_t>(std::min(levels[offset] + level, kMostLevel));
        };
        if (term.list->constant()) {
            const int32_t level = level_of(term.bound);
            lists_.each_posting(term, [&](int32_t offset, float) { add(offset, level); });
        } else {
            const auto scale = static_cast<float>(term.weight * levels_per_score_ * kRoundedUp);
            lists_.each_posting(term, [&](int32_t offset, float weight) {
                add(offset, static_cast<int32_t>(std::min(weight * scale, kMostLevel - 1.0f)) + 1);
            });
        }
    }

    // Leaves in places_ and reached_ the positions of the window whose bound is at least `least`, and returns
    // how many. When `guessing`, raises `least` to a level below which the k best of the window hardly are.
    int32_t find_candidates(uint8_t& least, bool guessing) {
        scratch_.frequent_.clear();
        for (const Term& term : lists_.terms()) {
            if (term.block.count == 0) continue;
            if (term.bits && term.block.count >= kFewInWindow) {
                scratch_.frequent_.push_back({term.index, {term.bits + first_ / 64, level_of(term.bound)}});
            } else {
                add_levels(term);
            }
        }
        std::array<int32_t, kMostLevel + 1> counts{};
        int32_t likely = 0, n_likely = 0;
        int32_t n = 0;
        for (int32_t from = 0; from < kWindow && first_ + from < segment_.n_items;
             from += Segment::kStretch) {
            scratch_.near_.clear();
            for (const auto& list : scratch_.frequent_) {
                if (segment_.in_stretch(list.index, first_ + from)) scratch_.near_.push_back(list.bits);
            }
            const Stretch stretch{from, Segment::kStretch, scratch_.levels_.data(), scratch_.near_,
                                  choosing_ ? scratch_.chosen_.data() + first_ / 64 : nullptr};
            const int32_t found =
                take_at_least(stretch, least, scratch_.places_.data() + n, scratch_.reached_.data() + n);
            if (guessing) {
                for (int32_t i = n; i < n + found; ++i) {
                    ++counts[scratch_.reached_[i]];
                    n_likely += scratch_.reached_[i] > likely;
                }
                while (n_likely >= n_enough()) n_likely -= counts[++likely];
                least = std::max(least, static_cast<uint8_t>(likely * 7 / 8));
            }
            n += found;
        }
        return guessing ? keep(0, n, [&](int32_t i) { return scratch_.reached_[i] >= least; }) : n;
    }

    // Of so many candidates, about k are permitted.
    int32_t n_enough() const {
        const auto k = static_cast<int64_t>(k_);
        return static_cast<int32_t>(asking_ ? std::min<int64_t>(kWindow, k * segment_.n_items / n_permitted_)
                                            : k);
    }

    // Of candidates [begin, end) keeps those of whose number `wanted` is true. Returns the new end.
    template <typename Wanted>
    int32_t keep(int32_t begin, int32_t end, const Wanted& wanted) {
        int32_t kept = begin;
        for (int32_t i = begin; i < end; ++i) {
            const bool stays = wanted(i);
            scratch_.places_[kept] = scratch_.places_[i];
            scratch_.reached_[kept] = scratch_.reached_[i];
            kept += stays;
        }
        return kept;
    }

    void answer_candidates(int32_t n) {
        for (int32_t begin = 0; begin < n;) {
            const int32_t end = best_first(begin, n);
            int32_t n_kept = end;
            if (asking_) {
                prefetch_ids(begin, end);
                n_kept = keep(begin, end, [&](int32_t i) { return permitted(first_ + scratch_.places_[i]); });
            }
            score({scratch_.places_.data() + begin, static_cast<size_t>(n_kept - begin)});
            begin = end;
            n = keep(end, n,
                     [least = threshold(), this](int32_t i) { return scratch_.reached_[i] >= least; });
        }
    }

    // Of candidates [begin, end) moves those of the highest levels to the front, enough of them, and returns
    // where they end.
    int32_t best_first(int32_t begin, int32_t end) {
        if (end - begin <= 2 * n_enough()) return end;
        std::array<int32_t, kMostLevel + 1> counts{};
        for (int32_t i = begin; i < end; ++i) ++counts[scratch_.reached_[i]];
        int32_t level = kMostLevel;
        for (int32_t above = counts[level]; above < n_enough();) above += counts[--level];
        int32_t front = begin;
        for (int32_t i = begin; i < end; ++i) {
            if (scratch_.reached_[i] < level) continue;
            std::swap(scratch_.places_[front], scratch_.places_[i]);
            std::swap(scratch_.reached_[front++], scratch_.reached_[i]);
        }
        return front;
    }

    void prefetch_ids(int32_t begin, int32_t end) const {
        if (segment_.ids.empty()) return;
        for (int32_t i = begin; i < end; ++i) prefetch(&segment_.ids[first_ + scratch_.places_[i]]);
    }

    // Answers items of the window, scored by the definition list by list: those that are wanted are marked,
    // and found in the postings as these go by.
    void score(std::span<const uint16_t> places) {
        if (places.empty()) return;
        uint8_t* const marks = scratch_.levels_.data();
        double* const sums = scratch_.exact_sums_.data();
        for (uint16_t place : places) {
            marks[place] = 1;
            if (!segment_.ids.empty()) prefetch(&segment_.ids[first_ + place]);
        }
        const auto n = static_cast<int64_t>(places.size());
        for (const Term& term : lists_.terms()) {
            if (term.block.count == 0) continue;
            if (!term.list->whole &&
                n * (term.bits ? kPostingsPerBit : kPostingsPerSearch) < term.block.count) {
                look_up(term, places, sums);
            } else {
                add_marked(term, marks, sums);
            }
        }
        for (uint16_t place : places) {
            marks[place] = 0;
            const double sum = std::exchange(sums[place], 0.0);
            if (sum > 0.0) answer(first_ + place, sum);
        }
        raise_floor();
    }

    void look_up(const Term& term, std::span<const uint16_t> places, double* sums) const {
        // Which places have their bit is as good as random: no branch asks for it.
        uint16_t* const held = scratch_.held_.data();
        size_t n = 0;
        for (uint16_t place : places) {
            held[n] = place;
            n += !term.bits || has_bit(term.bits, first_ + place);
        }
        for (size_t i = 0; i < n; ++i) sums[held[i]] += part_of_score(term, first_ + held[i]);
    }

    void add_marked(const Term& term, const uint8_t* marks, double* sums) const {
        const auto add = [&](int32_t offset, float weight) {
            if (marks[offset]) sums[offset] += term.weight * static_cast<double>(weight);
        };
        if (term.list->whole) return lists_.each_posting(term, add);
        // Marks are few: one branch for eight postings is foreseen, one for each is not.
        constexpr int32_t kAtOnce = 8;
        const Block& block = term.block;
        const auto add_posting = [&](int32_t i) {
            add(block.offsets[i], block.weights ? block.weights[i] : term.list->least);
        };
        int32_t i = 0;
        for (; i + kAtOnce <= block.count; i += kAtOnce) {
            int marked = 0;
            for (int32_t j = i; j < i + kAtOnce; ++j) marked |= marks[block.offsets[j]];
            if (!marked) continue;
            for (int32_t j = i; j < i + kAtOnce; ++j) add_posting(j);
        }
        for (; i < block.count; ++i) add_posting(i);
    }

    // What a list adds to the score of an item; 0 if the item is not in the list.
    double part_of_score(const Term& term, int32_t position) const {
        if (term.bits && term.list->constant()) return has_bit(term.bits, position) ? term.bound : 0.0;
        const int32_t place = segment_.find(term.index, position);
        return place < 0 ? 0.0 : term.weight * static_cast<double>(segment_.weight(*term.list, place));
    }

    // Scores the permitted items one by one.
    void score_permitted() {
        permitted_->for_each(segment_.first_id, segment_.first_id + segment_.n_items, [&](int64_t id) {
            const int32_t position = segment_.position_of(id);
            double sum = 0.0;
            for (const Term& term : lists_.terms()) sum += part_of_score(term, position);
            if (sum > 0.0) answer(position, sum);
        });
    }

    const Segment& segment_;
    const size_t k_;
    const IdSet* const permitted_;
    Scratch& scratch_;
    QueryLists& lists_;
    int64_t n_permitted_ = 0;
    bool choosing_ = false;  // few items are permitted: only these become candidates
    bool asking_ = false;    // candidates are asked whether they are permitted
    int32_t first_ = 0;      // position of the window at hand
    double floor_ = 0.0;     // a score that an answer must reach, as far as is known
    double levels_per_score_ = 1.0;
};

void search_segment(const Segment& segment, std::span<const QueryTerm> query, size_t k,
                    const IdSet* permitted, Scratch& scratch) noexcept {
    SegmentSearch(segment, query, k, permitted, scratch).run();
}

}  // namespace mmsrarec
