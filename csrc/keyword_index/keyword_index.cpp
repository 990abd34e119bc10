#include "keyword_index/keyword_index.hpp"

#include <algorithm>
#include <limits>
#include <string>

#include "errors.hpp"
#include "keyword_index/build.hpp"
#include "keyword_index/stored_index.hpp"
#include "parallel.hpp"

namespace mmsrarec {
namespace {

constexpr int64_t kMostIds = std::numeric_limits<int32_t>::max();
constexpr int64_t kQueriesAtOnce = 8;

int64_t checked_n_keywords(const KeywordRows& rows, std::optional<int64_t> given, int64_t least) {
    if (!given) {
        const int64_t largest = rows.keywords.empty() ? -1 : *std::ranges::max_element(rows.keywords);
        return std::min(kMostIds, std::max(least, largest + 1));
    }
    if (*given < least || *given > kMostIds) {
        throw InputError("n_keywords must lie in " + std::to_string(least) + ".." + std::to_string(kMostIds) +
                         ", got " + std::to_string(*given) + ".");
    }
    return *given;
}

void check_k(int64_t k) {
    if (k < 0) throw InputError("k must be 0 or more, got " + std::to_string(k) + ".");
}

void check_ids(std::span<const int64_t> ids, const char* name, int64_t n_items) {
    for (size_t i = 0; i < ids.size(); ++i) {
        if (ids[i] < 0 || ids[i] >= n_items) {
            throw InputError(std::string(name) + "[" + std::to_string(i) + "] = " + std::to_string(ids[i]) +
                             " is no item; ids run from 0 to " + std::to_string(n_items - 1) + ".");
        }
    }
}

void check_mask(std::span<const bool> mask, const char* name, int64_t n_items) {
    if (static_cast<int64_t>(mask.size()) != n_items) {
        throw InputError(std::string(name) + " is a mask of " + std::to_string(mask.size()) +
                         " flags, expected one an item ever added: " + std::to_string(n_items) + ".");
    }
}

IdSet allowed_items(const ItemFilter& allow, int64_t n_items) {
    if (const auto* mask = std::get_if<std::span<const bool>>(&allow)) {
        check_mask(*mask, "allow", n_items);
        return IdSet(*mask);
    }
    const auto& ids = std::get<std::span<const int64_t>>(allow);
    check_ids(ids, "allow", n_items);
    IdSet set(n_items, false);
    for (int64_t id : ids) set.insert(id);
    return set;
}

void take_out(IdSet& set, const ItemFilter& exclude) {
    if (const auto* mask = std::get_if<std::span<const bool>>(&exclude)) {
        check_mask(*mask, "exclude", set.size());
        return set.subtract(IdSet(*mask));
    }
    const auto& ids = std::get<std::span<const int64_t>>(exclude);
    check_ids(ids, "exclude", set.size());
    for (int64_t id : ids) set.erase(id);
}

// Items that may be in an answer; null when all may.
std::shared_ptr<const IdSet> permitted_items(const Snapshot& snapshot, const Filters& filters) {
    if (!filters.allow && !filters.exclude) return snapshot.alive;
    auto set = std::make_shared<IdSet>(filters.allow ? allowed_items(*filters.allow, snapshot.n_items)
                                                     : IdSet(snapshot.n_items, true));
    if (filters.exclude) take_out(*set, *filters.exclude);
    if (snapshot.alive) set->intersect(*snapshot.alive);
    return set;
}

int64_t largest_segment(const Snapshot& snapshot) {
    int64_t largest = 0;
    for (const auto& segment : snapshot.segments) largest = std::max(largest, segment->n_items);
    return largest;
}

int64_t cost(const Segment& segment) { return segment.n_items + segment.n_postings(); }

// Merges small segments at the end until each is at least twice as large as the next: adding one by one then
// costs no more than a logarithm of the number of items, and a search visits no more segments than that.
void merge_small_segments(Snapshot& snapshot, const Poll& poll) {
    auto& segments = snapshot.segments;
    size_t first = segments.size() - 1;
    int64_t merged = cost(*segments[first]);
    while (first > 0 && cost(*segments[first - 1]) < 2 * merged) merged += cost(*segments[--first]);
    if (first + 1 == segments.size()) return;
    auto whole = merge_segments(std::span(segments).subspan(first), snapshot.alive.get(), poll);
    segments.resize(first);
    segments.push_back(std::move(whole));
}

// Queries of a batch, checked and sorted once: terms of query i are [starts[i], starts[i + 1]).
struct PreparedQueries {
    std::vector<size_t> starts = {0};
    std::vector<QueryTerm> terms;
    size_t most_terms = 0;  // of one query
};

PreparedQueries prepare(const KeywordRows& rows) {
    PreparedQueries prepared;
    prepared.starts.reserve(rows.indptr.size());
    prepared.terms.reserve(rows.keywords.size());
    for (int64_t row = 0; row < rows.size(); ++row) {
        const int64_t start = rows.indptr[row], count = rows.indptr[row + 1] - start;
        append_query(rows.keywords.subspan(start, count), rows.weights.subspan(start, count), prepared.terms);
        prepared.most_terms = std::max(prepared.most_terms, prepared.terms.size() - prepared.starts.back());
        prepared.starts.push_back(prepared.terms.size());
    }
    return prepared;
}

}  // namespace

KeywordIndex::KeywordIndex(Snapshot snapshot, bool mapped)
    : snapshot_(std::make_shared<const Snapshot>(std::move(snapshot))), mapped_(mapped) {}

std::shared_ptr<const Snapshot> KeywordIndex::snapshot() const {
    const std::lock_guard lock(snapshot_mutex_);
    return snapshot_;
}

void KeywordIndex::publish(Snapshot snapshot) {
    auto next = std::make_shared<const Snapshot>(std::move(snapshot));
    const std::lock_guard lock(snapshot_mutex_);
    snapshot_.swap(next);
}

std::unique_ptr<KeywordIndex> KeywordIndex::from_arrays(const KeywordRows& rows,
                                                        std::optional<int64_t> n_keywords, const Poll& poll) {
    std::unique_ptr<KeywordIndex> index(new KeywordIndex(Snapshot{}, false));
    index->add(rows, checked_n_keywords(rows, n_keywords, 0), poll);
    return index;
}

std::unique_ptr<KeywordIndex> KeywordIndex::open(const std::filesystem::path& path, bool map,
                                                 const Poll& poll) {
    return std::unique_ptr<KeywordIndex>(new KeywordIndex(read_snapshot(path, map, poll), map));
}

std::vector<Hit> KeywordIndex::search(std::span<const int32_t> keywords, std::span<const float> weights,
                                      int64_t k, const Filters& filters) const {
    const auto now = snapshot();
    const int64_t indptr[] = {0, static_cast<int64_t>(keywords.size())};
    check_k(k);
    check_rows({indptr, keywords, weights}, now->n_keywords);
    std::vector<QueryTerm> query;
    append_query(keywords, weights, query);
    const auto permitted = permitted_items(*now, filters);
    k = std::min(k, now->n_items);
    auto scratch = scratch_.take();
    scratch->reserve(query.size(), k, largest_segment(*now));
    search_snapshot(*now, query, k, permitted.get(), *scratch);
    std::vector<Hit> hits = scratch->hits;
    scratch_.give_back(std::move(scratch));
    return hits;
}

void KeywordIndex::search_batch(const KeywordRows& queries, int64_t k, int64_t threads,
                                const Filters& filters, std::span<int64_t> ids, std::span<float> scores,
                                const Poll& poll) const {
    const auto now = snapshot();
    check_k(k);
    if (threads < 1) throw InputError("threads must be 1 or more, got " + std::to_string(threads) + ".");
    check_rows(queries, now->n_keywords, poll);
    const PreparedQueries prepared = prepare(queries);
    const auto permitted = permitted_items(*now, filters);
    const int64_t most = std::min(k, now->n_items);
    threads = std::clamp<int64_t>((queries.size() + kQueriesAtOnce - 1) / kQueriesAtOnce, 1, threads);

    std::vector<std::unique_ptr<Scratch>> scratches;
    for (int64_t thread = 0; thread < threads; ++thread) {
        scratches.push_back(scratch_.take());
        scratches.back()->reserve(prepared.most_terms, most, largest_segment(*now));
    }
    run_polled(queries.size(), kQueriesAtOnce, threads, poll, [&](int64_t thread, int64_t row) {
        Scratch& scratch = *scratches[thread];
        const size_t start = prepared.starts[row], count = prepared.starts[row + 1] - start;
        search_snapshot(*now, std::span(prepared.terms).subspan(start, count), most, permitted.get(),
                        scratch);
        for (int64_t rank = 0; rank < k; ++rank) {
            const bool found = rank < static_cast<int64_t>(scratch.hits.size());
            ids[row * k + rank] = found ? scratch.hits[rank].id : -1;
            scores[row * k + rank] =
                found ? scratch.hits[rank].score : -std::numeric_limits<float>::infinity();
        }
    });
    for (auto& scratch : scratches) scratch_.give_back(std::move(scratch));
}

int64_t KeywordIndex::add(const KeywordRows& rows, std::optional<int64_t> n_keywords, const Poll& poll) {
    const std::lock_guard one_writer(writer_mutex_);
    Snapshot next = *snapshot();
    const int64_t first_id = next.n_items;
    next.n_keywords = n_keywords ? checked_n_keywords(rows, n_keywords, next.n_keywords) : next.n_keywords;
    check_rows(rows, next.n_keywords, poll);
    if (rows.size() > kMostIds - first_id) {
        throw InputError("indptr names " + std::to_string(rows.size()) + " items; an index holds at most " +
                         std::to_string(kMostIds) + " and has given " + std::to_string(first_id) + " ids.");
    }
    if (rows.size() > 0) {
        next.segments.push_back(build_segment(rows, first_id, rows.size(), poll));
        next.n_items += rows.size();
        if (next.alive) {
            auto alive = std::make_shared<IdSet>(*next.alive);
            alive->grow(next.n_items);
            next.alive = std::move(alive);
        }
        merge_small_segments(next, poll);
    }
    publish(std::move(next));
    return first_id;
}

int64_t KeywordIndex::remove(std::span<const int64_t> ids, const Poll& poll) {
    const std::lock_guard one_writer(writer_mutex_);
    Snapshot next = *snapshot();
    IdSet alive = next.alive ? *next.alive : IdSet(next.n_items, true);
    check_ids(ids, "ids", next.n_items);
    for (int64_t id : ids) alive.erase(id);
    const int64_t n_alive = alive.count(0, next.n_items);
    const int64_t removed = next.n_items - next.n_removed - n_alive;
    if (removed == 0) return 0;
    next.n_removed += removed;
    next.alive = std::make_shared<const IdSet>(std::move(alive));
    for (auto& segment : next.segments) {
        const int64_t left = next.alive->count(segment->first_id, segment->first_id + segment->n_items);
        if (2 * left >= segment->n_alive) continue;
        segment = merge_segments(std::span(&segment, 1), next.alive.get(), poll);
    }
    publish(std::move(next));
    return removed;
}

void KeywordIndex::save(const std::filesystem::path& path, const Poll& poll) const {
    Snapshot now = *snapshot();
    const bool whole = now.segments.size() <= 1 &&
                       (now.segments.empty() || now.segments[0]->n_alive == now.n_items - now.n_removed);
    if (!whole) now.segments = {merge_segments(now.segments, now.alive.get(), poll)};
    write_snapshot(now, path, poll);
}

int64_t KeywordIndex::size() const {
    const auto now = snapshot();
    return now->n_items - now->n_removed;
}

int64_t KeywordIndex::n_items() const { return snapshot()->n_items; }

int64_t KeywordIndex::n_keywords() const { return snapshot()->n_keywords; }

int64_t KeywordIndex::nbytes() const { return stats().nbytes; }

IndexStats KeywordIndex::stats() const {
    const auto now = snapshot();
    IndexStats stats{now->n_items - now->n_removed, now->n_removed, now->n_keywords, 0, 0, 0, mapped_};
    stats.segments = static_cast<int64_t>(now->segments.size());
    stats.nbytes = now->alive ? static_cast<int64_t>(now->alive->words().size_bytes()) : 0;
    for (const auto& segment : now->segments) {
        stats.postings += segment->n_postings();
        stats.nbytes += segment->nbytes();
    }
    return stats;
}

}  // namespace mmsrarec
