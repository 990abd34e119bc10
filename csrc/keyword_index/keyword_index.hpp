// Exact top-k over weighted keywords: which items share the heaviest keywords with a query.
//
// The same names stand in mmsrarec/retrieve/keyword_index.py. Searching, from any number of threads, takes a
// snapshot and never waits for a writer; add and remove build a new snapshot and publish it whole.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <variant>
#include <vector>

#include "keyword_index/search.hpp"
#include "keyword_index/segment.hpp"
#include "poll.hpp"
#include "scratch_pool.hpp"

namespace mmsrarec {

// Items named one by one, or one flag an item.
using ItemFilter = std::variant<std::span<const int64_t>, std::span<const bool>>;

// Which items an answer may hold: those in `allow` (absent: all) that are not in `exclude` (absent: none).
struct Filters {
    std::optional<ItemFilter> allow;
    std::optional<ItemFilter> exclude;
};

struct IndexStats {
    int64_t items;     // alive
    int64_t removed;   // removed, their ids never given again
    int64_t keywords;  // n_keywords: ids run below it
    int64_t postings;  // stored, those of removed items not yet dropped included
    int64_t segments;
    int64_t nbytes;
    bool mapped;  // opened from a file that stays on disk
};

class KeywordIndex {
  public:
    // Indexes `rows` as items 0, 1, ...; without `n_keywords` it is one more than the largest keyword id.
    static std::unique_ptr<KeywordIndex> from_arrays(const KeywordRows& rows,
                                                     std::optional<int64_t> n_keywords,
                                                     const Poll& poll = {});
    static std::unique_ptr<KeywordIndex> open(const std::filesystem::path& path, bool map,
                                              const Poll& poll = {});

    // The best `k` items for one query, best first.
    std::vector<Hit> search(std::span<const int32_t> keywords, std::span<const float> weights, int64_t k,
                            const Filters& filters = {}) const;

    // Row i of `ids` and `scores`, (queries, k) each, gets the answer to query i, then -1 and -infinity.
    void search_batch(const KeywordRows& queries, int64_t k, int64_t threads, const Filters& filters,
                      std::span<int64_t> ids, std::span<float> scores, const Poll& poll = {}) const;

    // Adds items and returns the id of the first; `n_keywords` may grow the keyword ids that are known.
    int64_t add(const KeywordRows& rows, std::optional<int64_t> n_keywords, const Poll& poll = {});

    // Removes items and returns how many were there; those removed before are passed over.
    int64_t remove(std::span<const int64_t> ids, const Poll& poll = {});

    // Writes to `path`, a temporary name that the caller renames.
    void save(const std::filesystem::path& path, const Poll& poll = {}) const;

    int64_t size() const;        // items alive
    int64_t n_items() const;     // ids given so far
    int64_t n_keywords() const;  // keyword ids run below it
    int64_t nbytes() const;
    IndexStats stats() const;

  private:
    KeywordIndex(Snapshot snapshot, bool mapped);
    std::shared_ptr<const Snapshot> snapshot() const;
    void publish(Snapshot snapshot);

    std::shared_ptr<const Snapshot> snapshot_;
    mutable std::mutex snapshot_mutex_;  // held only to copy or replace the pointer
    std::mutex writer_mutex_;            // one writer at a time
    mutable ScratchPool<Scratch> scratch_;
    bool mapped_;
};

}  // namespace mmsrarec
