#include "check.hpp"
#include "random_catalogue.hpp"

using namespace mmsrarec;

namespace {

constexpr int32_t kKeywords = 400;

void check_catalogue(int64_t n_items, int32_t n_keywords, Weights items_kind, Weights query_kind,
                     uint64_t seed) {
    std::mt19937_64 random(seed);
    const Rows items = random_catalogue(random, n_items, n_keywords, 5, items_kind);
    const Catalogue catalogue(items, n_keywords);
    const auto index = KeywordIndex::from_arrays(items.view(), n_keywords);
    std::vector<bool> permitted(n_items, true);
    for (int terms : {1, 2, 7, 30}) {
        const Rows queries = random_catalogue(random, 3, n_keywords, terms, query_kind);
        for (int64_t query = 0; query < queries.size(); ++query) {
            for (int64_t k : {1, 10, 100, 5000}) {
                CHECK(same(search_row(*index, queries, query, k),
                           catalogue.search(queries, query, k, permitted)));
            }
        }
    }
    // Fewer and fewer items permitted, in all their representations, and some removed for good.
    const Rows queries = random_catalogue(random, 4, n_keywords, 20, query_kind);
    for (uint64_t one_in : {2, 20, 100, 2000, 100000}) {
        const auto mask = std::make_unique<bool[]>(n_items);
        std::vector<int64_t> refused, gone(20);
        for (int64_t id = 0; id < n_items; ++id) {
            mask[id] = random() % one_in == 0;
            if (random() % 1000 == 0) refused.push_back(id);
        }
        for (int64_t& id : gone) id = static_cast<int64_t>(random() % n_items);
        index->remove(gone);
        for (int64_t id : gone) permitted[id] = false;
        std::vector<bool> left = permitted, without = permitted;
        for (int64_t id = 0; id < n_items; ++id) left[id] = left[id] && mask[id];
        for (int64_t id : refused) left[id] = without[id] = false;
        const std::span<const bool> allow(mask.get(), n_items);
        for (int64_t query = 0; query < queries.size(); ++query) {
            CHECK(same(search_row(*index, queries, query, 30, {allow, std::span<const int64_t>(refused)}),
                       catalogue.search(queries, query, 30, left)));
            CHECK(same(search_row(*index, queries, query, 30, {{}, std::span<const int64_t>(refused)}),
                       catalogue.search(queries, query, 30, without)));
        }
    }
}

}  // namespace

TEST(pruned_answers_equal_brute_force) {
    uint64_t seed = 30;
    for (int64_t n_items : {3000, 65536, 150000}) {
        for (int number = 0; number < kKindsOfWeights; ++number) {
            const auto kind = static_cast<Weights>(number);
            const Weights query_kind = kind == Weights::kHuge ? Weights::kSkewed : Weights::kFewValues;
            check_catalogue(n_items, kKeywords, kind, query_kind, ++seed);
            check_catalogue(n_items, 100000, kind, query_kind, ++seed);  // most of them rare
        }
    }
    check_catalogue(70000, kKeywords, Weights::kSkewed, Weights::kHuge, ++seed);
}

TEST(more_ties_than_there_is_room_for) {
    std::mt19937_64 random(50);
    Rows items, query;
    for (int64_t row = 0; row < 200000; ++row) {
        if (random() % 3) {
            items.append({{0, 1.0f}, {static_cast<int32_t>(1 + random() % 50), 0.5f}});
        } else {
            items.append({{0, 1.0f}});
        }
    }
    query.append({{0, 1.0f}});
    query.append({{0, 1.0f}, {1, 1e-7f}, {2, 1e-7f}});
    const auto index = KeywordIndex::from_arrays(items.view(), 51);
    const Catalogue catalogue(items, 51);
    const std::vector<bool> all(items.size(), true);
    for (int64_t row = 0; row < query.size(); ++row) {
        CHECK(same(search_row(*index, query, row, 100), catalogue.search(query, row, 100, all)));
    }
}

// Every keyword adds at least a level, and there are 255 of them.
TEST(more_keywords_than_levels) {
    std::mt19937_64 random(52);
    const Rows items = random_catalogue(random, 3000, 300, 290, Weights::kFewValues);
    const Rows query = random_catalogue(random, 2, 300, 900, Weights::kFewValues);
    const auto index = KeywordIndex::from_arrays(items.view(), 300);
    const Catalogue catalogue(items, 300);
    const std::vector<bool> all(items.size(), true);
    for (int64_t row = 0; row < query.size(); ++row) {
        CHECK(same(search_row(*index, query, row, 20), catalogue.search(query, row, 20, all)));
    }
}

// What is likely the best by its bound is not: the bound of a list with bits is that of its greatest weight.
TEST(best_bounds_without_the_best_scores) {
    Rows items, query;
    for (int64_t row = 0; row < 70000; ++row) {
        const bool bound_only = row % 8 == 0;
        if (bound_only) {
            items.append({{0, row == 0 ? 100.0f : 0.001f}});
        } else {
            items.append({{1, 1.0f + static_cast<float>(row % 3000) * 1e-4f}});
        }
    }
    query.append({{0, 1.0f}, {1, 1.0f}});
    const auto index = KeywordIndex::from_arrays(items.view(), 2);
    const Catalogue catalogue(items, 2);
    const std::vector<bool> all(items.size(), true);
    for (int64_t k : {1, 2, 100, 1000}) {
        CHECK(same(search_row(*index, query, 0, k), catalogue.search(query, 0, k, all)));
    }
}

TEST(parts_added_later_are_searched_with_the_first) {
    std::mt19937_64 random(51);
    Rows items = random_catalogue(random, 100000, kKeywords, 5, Weights::kSkewed);
    const auto index = KeywordIndex::from_arrays(items.view(), kKeywords);
    for (int64_t more : {5000, 70000, 1, 300}) {
        const Rows added = random_catalogue(random, more, kKeywords, 5, Weights::kSkewed);
        index->add(added.view(), std::nullopt);
        items.append_rows(added);
        const Catalogue catalogue(items, kKeywords);
        const std::vector<bool> all(items.size(), true);
        const Rows queries = random_catalogue(random, 3, kKeywords, 20, Weights::kFewValues);
        for (int64_t query = 0; query < queries.size(); ++query) {
            CHECK(same(search_row(*index, queries, query, 50), catalogue.search(queries, query, 50, all)));
        }
    }
}
