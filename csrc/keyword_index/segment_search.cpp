// One segment is searched window by window (segment.hpp). Adding up all postings of a query would be exact
// and simple, and is what happens when nothing can be gained by more (`add_up_window`). Otherwise
// (`prune_window`), with `floor_` a score that an item must reach to be among the best k:
//
// First, the lists of the most frequent keywords are deferred, as many as together cannot reach the floor: an
// item that is in no other list need not be looked at (MaxScore; Turtle and Flood, 1995). Which ones, is
// chosen anew in every window, since a window either has a frequent keyword or has not.
//
// Second, the postings of the other lists are added into one float for each position of the window.
//
// Third, positions whose sum and all deferred bounds reach the floor are looked up in the deferred lists,
// greatest bound first, until the floor is out of reach.
//
// Fourth, what remains gets a score good to a few units in the last place, kept if it may be among the best.
//
// At the end the few that were kept are scored by the definition. Floats only ever decide what is kept, with
// a margin for their rounding; they never decide what is answered.
#include "keyword_index/segment_search.hpp"

#include <algorithm>
#include <bit>
#include <functional>
#include <limits>
#include <utility>

#include "bounded_heap.hpp"
#include "keyword_index/window_scan.hpp"

namespace mmsrarec {
namespace {

// Pruning pays while the answer is a small part of the items.
constexpr int64_t kItemsPerAnswer = 32;
// With fewer postings than this in all, adding them up is done before pruning has begun.
constexpr int64_t kFewPostings = 2048;
// The part of the floor that deferred lists may make up: more defers more postings and makes more candidates.
constexpr float kDeferred = 0.55f;
// A list with fewer postings in a window is added rather than deferred.
constexpr int32_t kFewInWindow = 256;
// Touching a position again costs as much as reading so many untouched ones.
constexpr int32_t kSumsPerPosting = 8;
// Looking an item up in a list costs as much as adding so many postings.
constexpr int64_t kPostingsPerLookup = 64;
// With so few items permitted, one in so many, every one of them is a candidate: then all lists that can be
// deferred are. With fewer than one in kItemsPerUnlikely, candidates are first asked whether they are
// permitted.
constexpr int64_t kItemsPerChosen = 64, kItemsPerUnlikely = 2;
// Products and sums of floats are trusted in this range, far from where they would round to zero or overflow.
constexpr double kLeastTrusted = 1e-30, kMostTrusted = 1e30;
// How much of a score rounding can have taken: 2^-24 for each addition, and for two products.
constexpr float kRounding = 0x1p-24f;

// Says that `address` will be read soon.
inline void prefetch(const void* address) {
#ifdef __GNUC__
    __builtin_prefetch(address);
#else
    (void)address;
#endif
}

// Adds weights of a block, or their one weight, times `factor` to the sums.
template <typename Sum>
void add_block(const uint16_t* offsets, const float* weights, float constant, int32_t count, Sum factor,
               Sum* sums) {
    if (weights) {
        for (int32_t i = 0; i < count; ++i) sums[offsets[i]] += factor * static_cast<Sum>(weights[i]);
    } else {
        const Sum addend = factor * static_cast<Sum>(constant);
        for (int32_t i = 0; i < count; ++i) sums[offsets[i]] += addend;
    }
}

}  // namespace

class SegmentSearch {
  public:
    SegmentSearch(const Segment& segment, std::span<const QueryTerm> query, size_t k, const IdSet* permitted,
                  Scratch& scratch)
        : segment_(segment),
          k_(k),
          permitted_(permitted),
          scratch_(scratch),
          slack_(static_cast<float>(query.size() + 4) * 4 * kRounding) {
        collect_terms(query);
    }

    void run() {
        if (n_postings_ == 0) return;
        if (permitted_) {
            n_permitted_ = permitted_->count(segment_.first_id, segment_.first_id + segment_.n_items);
            const auto lookups = n_permitted_ * static_cast<int64_t>(scratch_.terms_.size());
            if (lookups * kPostingsPerLookup < n_postings_) return score_permitted();
            few_ = n_permitted_ * kItemsPerChosen <= segment_.n_items;
            unlikely_ = n_permitted_ * kItemsPerUnlikely <= segment_.n_items;
        }
        const auto k = static_cast<int64_t>(k_);
        bool pruning = tame_ && k <= kMostToPrune && k * kItemsPerAnswer <= segment_.n_items &&
                       n_postings_ > kFewPostings;
        if (pruning) start_pruning();
        if (pruning && few_) choose_permitted();
        // The last window is the shortest, and its items have the rarest keywords: the floor rises fastest
        // there.
        for (int32_t window = segment_.n_windows() - 1; window >= 0; --window) {
            enter(window);
            if (pruning && !prune_window(window)) {
                pruning = false;
                answer_buffer(window);
            }
            if (!pruning) add_up_window(window);
        }
        if (pruning) answer_buffer(-1);
        if (few_) std::ranges::fill(scratch_.chosen_, 0);
    }

  private:
    using Term = Scratch::Term;

    void collect_terms(std::span<const QueryTerm> query) {
        scratch_.terms_.clear();
        double least = std::numeric_limits<double>::max(), most = 0.0;
        int32_t group = 0;
        for (const QueryTerm& asked : query) {
            const auto [first, end] = segment_.lists_of(asked.keyword);
            for (int32_t index = first; index < end; ++index) {
                const PostingList* list = &segment_.lists[index];
                const auto factor = static_cast<float>(asked.weight);
                scratch_.terms_.push_back({.list = list,
                                           .bits = segment_.bits(index),
                                           .signature = Segment::signature_of(asked.keyword),
                                           .index = index,
                                           .group = group,
                                           .weight = asked.weight,
                                           .factor = factor,
                                           .bound = factor * list->most,
                                           .next = list->count,
                                           .block = {},
                                           .deferred = false});
                n_postings_ += list->count;
                least = std::min({least, asked.weight, asked.weight * list->least});
            }
            if (first < end) {
                most += asked.weight * segment_.lists[end - 1].most;
                most = std::max(most, asked.weight);
                ++group;
            }
        }
        tame_ = least > kLeastTrusted && most < kMostTrusted;
    }

    void answer(const Hit& hit) { offer(hit, k_, scratch_.hits, better); }

    bool permitted(int64_t id) const { return !permitted_ || permitted_->contains(id); }

    void raise_floor(float score) { floor_ = std::max(floor_, score * (1.0f - slack_)); }

    void start_pruning() {
        scratch_.best_.clear();
        scratch_.buffer_.clear();
        if (scratch_.hits.size() == k_) raise_floor(scratch_.hits.front().score);
        // The k postings of greatest weight of one keyword give k items of at least that score, if they are
        // permitted.
        const auto refused = permitted_ ? segment_.n_items - n_permitted_ : 0;
        const auto enough = static_cast<int64_t>(k_) + refused;
        const auto& terms = scratch_.terms_;
        int64_t above = 0;
        for (size_t i = terms.size(); i-- > 0;) {
            if (i + 1 == terms.size() || terms[i + 1].group != terms[i].group) above = 0;
            above += terms[i].list->count;
            if (above >= enough) raise_floor(terms[i].factor * terms[i].list->least);
        }
        auto& cheapest = scratch_.cheapest_;
        cheapest.resize(terms.size());
        for (size_t i = 0; i < terms.size(); ++i) cheapest[i] = static_cast<int32_t>(i);
        const auto bound_per_posting = [&](int32_t i) { return terms[i].bound / terms[i].list->count; };
        std::ranges::sort(cheapest, {}, bound_per_posting);
    }

    void choose_permitted() {
        permitted_->for_each(segment_.first_id, segment_.first_id + segment_.n_items, [&](int64_t id) {
            const int32_t position = segment_.position_of(id);
            scratch_.chosen_[position >> 6] |= uint64_t{1} << (position & 63);
        });
    }

    // Points every term at its postings in a window.
    void enter(int32_t window) {
        n_in_window_ = 0;
        for (Term& term : scratch_.terms_) {
            term.deferred = false;
            if (term.list->whole) {
                const int32_t* positions = segment_.positions.data() + term.list->first;
                const int32_t end = term.next;
                while (term.next > 0 && positions[term.next - 1] >> kWindowBits == window) --term.next;
                term.block.count = end - term.next;
            } else {
                term.block = segment_.block(*term.list, window);
            }
            n_in_window_ += term.block.count;
        }
    }

    // Calls add(offset, weight) for the postings of a whole list in the window at hand.
    template <typename Add>
    void each_whole(const Term& term, const Add& add) const {
        for (int32_t i = term.next; i < term.next + term.block.count; ++i) {
            add(segment_.positions[term.list->first + i] & (kWindow - 1), segment_.weight(*term.list, i));
        }
    }

    template <typename Sum>
    void add_term(const Term& term, Sum factor, Sum* sums) const {
        if (term.list->whole) {
            each_whole(term, [&](int32_t offset, float weight) {
                sums[offset] += factor * static_cast<Sum>(weight);
            });
        } else {
            add_block(term.block.offsets, term.block.weights, term.list->least, term.block.count, factor,
                      sums);
        }
    }

    // The beginning of a block is where no machine expects the next read.
    void prefetch_block(const Term& term) const {
        if (term.list->whole || term.deferred) return;
        constexpr int32_t kOffsetsPerLine = 32;
        prefetch(term.block.offsets);
        prefetch(term.block.offsets + kOffsetsPerLine);
        if (!term.block.weights) return;
        prefetch(term.block.weights);
        prefetch(term.block.weights + kOffsetsPerLine / 2);
        prefetch(term.block.weights + kOffsetsPerLine);
    }

    template <typename Visit>
    void each_offset(const Term& term, const Visit& visit) const {
        if (term.list->whole) {
            each_whole(term, [&](int32_t offset, float) { visit(offset); });
        } else {
            for (int32_t i = 0; i < term.block.count; ++i) visit(term.block.offsets[i]);
        }
    }

    // Scores every item of the window by the definition. Weights are positive floats, whose products never
    // underflow in double, so a sum of 0 means that an item was not touched.
    void add_up_window(int32_t window) {
        double* const sums = scratch_.exact_sums_.data();
        for (const Term& term : scratch_.terms_) add_term(term, term.weight, sums);
        const int32_t first = window << kWindowBits;
        const auto take = [&](int32_t offset) {
            if (sums[offset] == 0.0) return;
            const auto score = static_cast<float>(sums[offset]);
            sums[offset] = 0.0;
            if (scratch_.hits.size() == k_ && score < scratch_.hits.front().score) return;
            const int64_t id = segment_.id_at(first + offset);
            if (permitted(id)) answer({id, score});
        };
        if (n_in_window_ * kSumsPerPosting < kWindow) {
            for (const Term& term : scratch_.terms_) each_offset(term, take);
        } else {
            const auto count = static_cast<int32_t>(std::min<int64_t>(kWindow, segment_.n_items - first));
            for (int32_t offset = 0; offset < count; ++offset) take(offset);
        }
    }

    // Chooses what to defer in the window at hand: of the lists with bits, which are quickly looked up, those
    // of low bounds and many postings first, and a list only after those of the same keyword with smaller
    // weights.
    void defer() {
        auto& terms = scratch_.terms_;
        float sum = 0.0f;
        const float most = few_ ? std::numeric_limits<float>::infinity() : floor_ * kDeferred;
        for (int32_t i : scratch_.cheapest_) {
            if (!terms[i].bits || terms[i].block.count < kFewInWindow) continue;
            float below = 0.0f;
            bool reachable = true;
            for (int32_t j = i - 1; j >= 0 && terms[j].group == terms[i].group; --j) {
                if (terms[j].block.count == 0) continue;
                reachable = terms[j].deferred;
                below = terms[j].bound;
                break;
            }
            if (!reachable || sum + terms[i].bound - below > most) continue;
            terms[i].deferred = true;
            sum += terms[i].bound - below;
        }
        scratch_.groups_.clear();
        for (size_t i = 0; i < terms.size(); ++i) {
            if (!terms[i].deferred) continue;
            const auto place = static_cast<int32_t>(i);
            if (!scratch_.groups_.empty() && terms[scratch_.groups_.back().first].group == terms[i].group) {
                scratch_.groups_.back().end = place + 1;
                scratch_.groups_.back().bound = terms[i].bound;
            } else {
                scratch_.groups_.push_back({place, place + 1, terms[i].bound, 0.0f});
            }
        }
        std::ranges::sort(scratch_.groups_, std::greater{}, &Scratch::Group::bound);
    }

    // Leaves in near_ the deferred groups that the stretch from `position` has postings of, and returns the
    // sum of their bounds.
    float enter_stretch(int32_t position) {
        scratch_.near_.clear();
        for (const auto& group : scratch_.groups_) {
            int32_t end = group.end;
            for (; end > group.first; --end) {
                const Term& term = scratch_.terms_[end - 1];
                if (term.deferred && segment_.in_stretch(term.index, position)) break;
            }
            if (end == group.first) continue;
            scratch_.near_.push_back({group.first, end, scratch_.terms_[end - 1].bound, 0.0f});
        }
        // Only ever added, never subtracted: a difference of large bounds would not be good to a few units.
        float sum = 0.0f;
        for (auto group = scratch_.near_.rbegin(); group != scratch_.near_.rend(); ++group) {
            group->after = sum;
            sum += group->bound;
        }
        return sum;
    }

    // Returns whether pruning got by with the room it has; if not, nothing of this window was answered yet.
    bool prune_window(int32_t window) {
        if (n_in_window_ == 0) return true;
        float* const sums = scratch_.sums_.data();
        const int32_t first = window << kWindowBits;
        bool room = true;
        if (n_in_window_ * kSumsPerPosting < kWindow) {
            scratch_.near_.clear();
            for (const Term& term : scratch_.terms_) add_term(term, term.factor, sums);
            for (const Term& term : scratch_.terms_) {
                each_offset(term, [&](int32_t offset) {
                    const float score = std::exchange(sums[offset], 0.0f);
                    if (score > 0.0f && score >= floor_ && room) room = consider(first + offset, score);
                });
            }
            return room;
        }
        defer();
        const auto& terms = scratch_.terms_;
        for (size_t i = 0; i < terms.size(); ++i) {
            if (i + 1 < terms.size()) prefetch_block(terms[i + 1]);
            if (!terms[i].deferred) add_term(terms[i], terms[i].factor, sums);
        }
        for (int32_t from = 0; from < kWindow && first + from < segment_.n_items; from += Segment::kStretch) {
            const float bound = enter_stretch(first + from);
            int32_t n = few_ ? take_chosen(first + from, sums + from)
                             : take_at_least(sums + from, Segment::kStretch,
                                             std::max(floor_ - bound, std::numeric_limits<float>::min()),
                                             scratch_.places_.data(), scratch_.values_.data());
            if (unlikely_ && !few_) n = keep_permitted(first + from, n);
            n = keep_reachable(first + from, n);
            for (int32_t i = 0; i < n && room; ++i) {
                room = consider(first + from + scratch_.places_[i], scratch_.values_[i]);
            }
        }
        return room;
    }

    // Takes the sums of the chosen positions of a stretch, and clears them all.
    int32_t take_chosen(int32_t stretch, float* sums) {
        int32_t n = 0;
        for (int32_t from = 0; from < Segment::kStretch; from += 64) {
            for (uint64_t left = scratch_.chosen_[(stretch + from) >> 6]; left; left &= left - 1) {
                const int32_t place = from + std::countr_zero(left);
                scratch_.places_[n] = static_cast<uint16_t>(place);
                scratch_.values_[n++] = sums[place];
            }
        }
        std::fill_n(sums, Segment::kStretch, 0.0f);
        return n;
    }

    int32_t keep_permitted(int32_t stretch, int32_t n) {
        int32_t kept = 0;
        for (int32_t i = 0; i < n; ++i) {
            const uint16_t place = scratch_.places_[i];
            scratch_.places_[kept] = place;
            scratch_.values_[kept] = scratch_.values_[i];
            kept += permitted_->contains(segment_.id_at(stretch + place));
        }
        return kept;
    }

    // Looks `n` places of a stretch up in the deferred lists, one keyword after the other, and drops those
    // that cannot reach the floor any more. Returns how many are left.
    int32_t keep_reachable(int32_t stretch, int32_t n) {
        uint16_t* const places = scratch_.places_.data();
        float* const values = scratch_.values_.data();
        float* const reached = scratch_.reached_.data();
        std::copy_n(values, n, reached);
        for (const auto& group : scratch_.near_) {
            const float least = floor_ - group.after;
            int32_t kept = 0;
            for (int32_t i = 0; i < n; ++i) {
                const uint16_t place = places[i];
                float most = reached[i];
                for (int32_t term = group.first; term < group.end; ++term) {
                    most += bound_if_found(scratch_.terms_[term], stretch + place);
                }
                places[kept] = place;
                values[kept] = values[i];
                reached[kept] = most;
                kept += most >= least;
            }
            n = kept;
        }
        return n;
    }

    float bound_if_found(const Term& term, int32_t position) const {
        if (!term.deferred) return 0.0f;
        return static_cast<float>((term.bits[position >> 6] >> (position & 63)) & 1) * term.bound;
    }

    // False only if the position is not in the list of the term.
    bool may_hold(const Term& term, int32_t position) const {
        return term.bits ? (term.bits[position >> 6] >> (position & 63)) & 1
                         : (segment_.signatures[position] & term.signature) != 0;
    }

    // The place of a position in the list of a term, -1 if it is not there.
    int32_t find(const Term& term, int32_t position) const {
        return may_hold(term, position) ? segment_.find(term.index, position) : -1;
    }

    // Keeps a position if it may be among the best; `score` is what the added lists gave it. Returns whether
    // there is still room.
    bool consider(int32_t position, float score) {
        for (const auto& group : scratch_.near_) {
            for (int32_t i = group.first; i < group.end; ++i) {
                const Term& term = scratch_.terms_[i];
                if (!term.deferred || !may_hold(term, position)) continue;
                score += term.list->constant()
                             ? term.bound
                             : term.factor * segment_.weight(*term.list, segment_.find(term.index, position));
            }
        }
        if (score < floor_ || score <= 0.0f || !permitted(segment_.id_at(position))) return true;
        keep_best(score);
        auto& buffer = scratch_.buffer_;
        buffer.push_back({position, score});
        if (buffer.size() < buffer.capacity()) return true;
        drop_unreachable();
        return 2 * buffer.size() < buffer.capacity() + k_;
    }

    void drop_unreachable() {
        std::erase_if(scratch_.buffer_, [&](const auto& candidate) { return candidate.score < floor_; });
    }

    void keep_best(float score) {
        auto& best = scratch_.best_;
        if (offer(score, k_, best, std::greater{}) && best.size() == k_) raise_floor(best.front());
    }

    // Scores what was kept of the windows after `window` by the definition: list by list, since then most of
    // what is read for one candidate is still at hand for the next.
    void answer_buffer(int32_t window) {
        auto& buffer = scratch_.buffer_;
        drop_unreachable();
        std::erase_if(buffer, [&](const auto& kept) { return kept.position >> kWindowBits <= window; });
        double* const sums = scratch_.exact_sums_.data();
        uint16_t* const held = scratch_.places_.data();
        for (const Term& term : scratch_.terms_) {
            size_t n = 0;
            for (size_t i = 0; i < buffer.size(); ++i) {
                held[n] = static_cast<uint16_t>(i);
                n += may_hold(term, buffer[i].position);
            }
            for (size_t i = 0; i < n; ++i) {
                const int32_t place = segment_.find(term.index, buffer[held[i]].position);
                if (place < 0) continue;
                sums[held[i]] += term.weight * static_cast<double>(segment_.weight(*term.list, place));
            }
        }
        for (size_t i = 0; i < buffer.size(); ++i) {
            const auto score = static_cast<float>(std::exchange(sums[i], 0.0));
            answer({segment_.id_at(buffer[i].position), score});
        }
    }

    // By the definition; 0 when the item shares no keyword with the query.
    double exact_sum(int32_t position) const {
        double sum = 0.0;
        for (const Term& term : scratch_.terms_) {
            const int32_t place = find(term, position);
            if (place >= 0) sum += term.weight * static_cast<double>(segment_.weight(*term.list, place));
        }
        return sum;
    }

    // Scores the permitted items one by one.
    void score_permitted() {
        permitted_->for_each(segment_.first_id, segment_.first_id + segment_.n_items, [&](int64_t id) {
            const int32_t position = segment_.position_of(id);
            const auto sum = exact_sum(position);
            if (sum > 0.0) answer({id, static_cast<float>(sum)});
        });
    }

    const Segment& segment_;
    const size_t k_;
    const IdSet* const permitted_;
    Scratch& scratch_;
    const float slack_;
    int64_t n_permitted_ = 0;
    int64_t n_postings_ = 0;
    int64_t n_in_window_ = 0;
    float floor_ =
        0.0f;           // a score that an answer must reach, as far as is known, less what rounding may hide
    bool few_ = false;  // few items are permitted: they are the candidates
    bool unlikely_ = false;  // an item is less likely permitted than not
    bool tame_ = true;
};

void search_segment(const Segment& segment, std::span<const QueryTerm> query, size_t k,
                    const IdSet* permitted, Scratch& scratch) noexcept {
    SegmentSearch(segment, query, k, permitted, scratch).run();
}

}  // namespace mmsrarec
