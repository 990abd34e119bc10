#include <limits>

#include "check.hpp"
#include "errors.hpp"
#include "random_rows.hpp"

using namespace mmsrarec;

static std::set<int64_t> up_to(int64_t n) {
    std::set<int64_t> ids;
    for (int64_t id = 0; id < n; ++id) ids.insert(ids.end(), id);
    return ids;
}

TEST(search_equals_brute_force) {
    std::mt19937_64 random(1);
    for (int round = 0; round < 60; ++round) {
        const int32_t n_keywords = 1 + static_cast<int32_t>(random() % 40);
        const Rows items = random_rows(random, random() % 120, n_keywords);
        const Rows queries = random_rows(random, 12, n_keywords, 12);
        const auto index = KeywordIndex::from_arrays(items.view(), n_keywords);
        for (int64_t query = 0; query < queries.size(); ++query) {
            for (int64_t k : {0, 1, 3, 1000}) {
                CHECK(same(search_row(*index, queries, query, k),
                           brute_force(items, up_to(items.size()), queries, query, k)));
            }
        }
    }
}

TEST(add_and_remove_equal_brute_force) {
    std::mt19937_64 random(2);
    constexpr int32_t kKeywords = 20;
    for (int round = 0; round < 20; ++round) {
        Rows items = random_rows(random, random() % 50, kKeywords);
        std::set<int64_t> alive = up_to(items.size());
        const auto index = KeywordIndex::from_arrays(items.view(), kKeywords);
        for (int step = 0; step < 40; ++step) {
            if (random() % 2) {
                const Rows more = random_rows(random, random() % 20, kKeywords);
                CHECK_EQUAL(index->add(more.view(), std::nullopt), items.size());
                for (int64_t row = 0; row < more.size(); ++row) alive.insert(items.size() + row);
                items.append_rows(more);
            } else if (items.size() > 0) {
                std::vector<int64_t> gone(random() % 15);
                for (int64_t& id : gone) id = static_cast<int64_t>(random() % items.size());
                const size_t before = alive.size();
                for (int64_t id : gone) alive.erase(id);
                CHECK_EQUAL(index->remove(gone), static_cast<int64_t>(before - alive.size()));
            }
            CHECK_EQUAL(index->size(), static_cast<int64_t>(alive.size()));
            CHECK_EQUAL(index->n_items(), items.size());
            const Rows queries = random_rows(random, 3, kKeywords, 10);
            for (int64_t query = 0; query < queries.size(); ++query) {
                CHECK(same(search_row(*index, queries, query, 7),
                           brute_force(items, alive, queries, query, 7)));
            }
        }
    }
}

TEST(filters_equal_brute_force) {
    std::mt19937_64 random(3);
    const Rows items = random_rows(random, 200, 15);
    const Rows queries = random_rows(random, 30, 15, 10);
    const auto index = KeywordIndex::from_arrays(items.view(), 15);
    for (int64_t query = 0; query < queries.size(); ++query) {
        std::vector<int64_t> allow(random() % 80);
        for (int64_t& id : allow) id = static_cast<int64_t>(random() % 200);
        bool exclude[200];
        std::set<int64_t> permitted(allow.begin(), allow.end());
        for (int64_t id = 0; id < 200; ++id) {
            exclude[id] = random() % 3 == 0;
            if (exclude[id]) permitted.erase(id);
        }
        const Filters filters{std::span<const int64_t>(allow), std::span<const bool>(exclude)};
        CHECK(same(search_row(*index, queries, query, 9, filters),
                   brute_force(items, permitted, queries, query, 9)));
    }
}

TEST(keyword_ids_may_be_sparse) {
    Rows items;
    items.append({{2000000000, 1.0f}, {7, 2.0f}});
    items.append({{7, 1.0f}});
    const auto index = KeywordIndex::from_arrays(items.view(), std::nullopt);
    CHECK_EQUAL(index->n_keywords(), 2000000001);
    CHECK(index->nbytes() < 200);
    CHECK(same(search_row(*index, items, 1, 5), {{0, 2.0f}, {1, 1.0f}}));
}

TEST(extreme_weights_keep_their_meaning) {
    Rows items, query;
    items.append({{0, 1e-45f}});
    items.append({{0, 1e30f}});
    items.append({{0, 1e30f}});
    query.append({{0, 1e-45f}});
    query.append({{0, 1e30f}});
    const auto index = KeywordIndex::from_arrays(items.view(), std::nullopt);
    const float infinity = std::numeric_limits<float>::infinity();
    CHECK(same(search_row(*index, query, 0, 5), brute_force(items, {0, 1, 2}, query, 0, 5)));
    CHECK_EQUAL(search_row(*index, query, 0, 5).size(), 3u);
    CHECK_EQUAL(search_row(*index, query, 1, 5)[0].score, infinity);
    CHECK_EQUAL(search_row(*index, query, 1, 5)[0].id, 1);
}

TEST(many_small_additions_stay_few_segments) {
    std::mt19937_64 random(4);
    const auto index = KeywordIndex::from_arrays(random_rows(random, 1000, 30).view(), 30);
    for (int i = 0; i < 500; ++i) index->add(random_rows(random, 1, 30).view(), std::nullopt);
    CHECK(index->stats().segments <= 12);
}

TEST(removed_items_do_not_keep_their_memory) {
    std::mt19937_64 random(5);
    const auto index = KeywordIndex::from_arrays(random_rows(random, 1000, 30).view(), 30);
    const int64_t before = index->stats().postings;
    std::vector<int64_t> gone;
    for (int64_t id = 0; id < 900; ++id) gone.push_back(id);
    index->remove(gone);
    CHECK(index->stats().postings < before / 4);
}

TEST(bad_arguments_are_named) {
    Rows items;
    items.append({{0, 1.0f}, {1, 1.0f}});
    const auto index = KeywordIndex::from_arrays(items.view(), 2);
    const auto refused = [](const std::vector<int64_t>& indptr, const std::vector<int32_t>& keywords,
                            const std::vector<float>& weights) {
        return message_of<InputError>([&] { KeywordIndex::from_arrays({indptr, keywords, weights}, 2); });
    };
    const float nan = std::numeric_limits<float>::quiet_NaN();
    CHECK_EQUAL(refused({0, 1}, {2}, {1}),
                "keywords[0] = 2 is unknown; ids run from 0 to n_keywords - 1 = 1.");
    CHECK_EQUAL(refused({0, 1}, {-1}, {1}),
                "keywords[0] = -1 is unknown; ids run from 0 to n_keywords - 1 = 1.");
    CHECK_EQUAL(refused({0, 1}, {1}, {nan}), "weights[0] must be finite and above 0, got nan.");
    CHECK_EQUAL(refused({0, 1}, {1}, {0}), "weights[0] must be finite and above 0, got 0.");
    CHECK_EQUAL(refused({0, 1}, {1}, {-1e-9f}), "weights[0] must be finite and above 0, got -1e-09.");
    CHECK_EQUAL(refused({1, 1}, {1}, {1}), "indptr[0] must be 0, got 1.");
    CHECK_EQUAL(refused({0, 2, 1}, {1}, {1}), "indptr[2] must not be below indptr[1] = 2, got 1.");
    CHECK_EQUAL(refused({0, 2}, {1}, {1}), "indptr[1] must be the number of keywords, 1, got 2.");
    CHECK(refused({}, {}, {}).starts_with("indptr is empty"));
    CHECK(refused({0, 1}, {1}, {}).starts_with("weights has 0 entries"));
    CHECK(refused({0, 2}, {1, 1}, {3e38f, 3e38f}).starts_with("weights of keyword 1"));

    const std::vector<int64_t> outside = {0, 1};
    CHECK(message_of<InputError>([&] {
              search_row(*index, items, 0, 1, {std::span(outside), {}});
          }).starts_with("allow[1] = 1 is no item"));
    CHECK(message_of<InputError>([&] { index->remove(outside); }).starts_with("ids[1] = 1 is no item"));
    CHECK(
        message_of<InputError>([&] { search_row(*index, items, 0, -1); }).starts_with("k must be 0 or more"));
    CHECK(message_of<InputError>([&] {
              index->add(items.view(), 1);
          }).starts_with("n_keywords must lie in 2.."));
    CHECK_EQUAL(index->size(), 1);
}
