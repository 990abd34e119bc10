#include <atomic>
#include <limits>
#include <thread>

#include "check.hpp"
#include "errors.hpp"
#include "random_rows.hpp"

using namespace mmsrarec;

TEST(batch_equals_single_searches_on_any_number_of_threads) {
    std::mt19937_64 random(21);
    const Rows items = random_rows(random, 400, 30);
    const Rows queries = random_rows(random, 101, 30, 10);
    const auto index = KeywordIndex::from_arrays(items.view(), 30);
    constexpr int64_t k = 7;
    for (int64_t threads : {1, 2, 5, 1000}) {
        std::vector<int64_t> ids(queries.size() * k);
        std::vector<float> scores(queries.size() * k);
        index->search_batch(queries.view(), k, threads, {}, ids, scores);
        for (int64_t query = 0; query < queries.size(); ++query) {
            auto hits = search_row(*index, queries, query, k);
            hits.resize(k, {-1, -std::numeric_limits<float>::infinity()});
            for (int64_t rank = 0; rank < k; ++rank) {
                CHECK_EQUAL(ids[query * k + rank], hits[rank].id);
                CHECK_EQUAL(scores[query * k + rank], hits[rank].score);
            }
        }
    }
}

// Every added batch is two items with one keyword: a search that sees one of them must see the other.
TEST(searches_see_an_addition_whole_or_not_at_all) {
    Rows pair, query;
    for (int i = 0; i < 2; ++i) pair.append({{0, 1.0f}});
    query.append({{0, 1.0f}});
    const auto index = KeywordIndex::from_arrays(pair.view(), 1);
    std::atomic<bool> done = false;
    std::atomic<int> torn = 0;
    std::vector<std::jthread> readers;
    for (int reader = 0; reader < 3; ++reader) {
        readers.emplace_back([&] {
            while (!done) torn += search_row(*index, query, 0, 1 << 20).size() % 2;
        });
    }
    std::jthread remover([&] {
        for (int64_t round = 0; round < 100; ++round) {
            const int64_t first = (index->n_items() - 2) / 2 * 2;
            index->remove(std::vector<int64_t>{first, first + 1});
        }
    });
    for (int round = 0; round < 300; ++round) index->add(pair.view(), std::nullopt);
    remover.join();
    done = true;
    readers.clear();
    CHECK_EQUAL(torn.load(), 0);
}

TEST(a_poll_that_throws_stops_a_batch_and_changes_nothing) {
    std::mt19937_64 random(22);
    const Rows items = random_rows(random, 20000, 10, 10);
    const Rows queries = random_rows(random, 5000, 10, 10);
    const auto index = KeywordIndex::from_arrays(items.view(), 10);
    std::vector<int64_t> ids(queries.size());
    std::vector<float> scores(queries.size());
    const Poll stop = [] { throw std::runtime_error("stopped"); };
    CHECK_EQUAL(message_of<std::runtime_error>(
                    [&] { index->search_batch(queries.view(), 1, 2, {}, ids, scores, stop); }),
                "stopped");
    CHECK_EQUAL(message_of<std::runtime_error>([&] { index->add(items.view(), std::nullopt, stop); }),
                "stopped");
    CHECK_EQUAL(index->n_items(), items.size());
    CHECK(!search_row(*index, items, 0, 5).empty() || items.indptr[1] == 0);
}
