// Rows of weighted keywords for tests: made from a seed, kept together with the views that the index takes,
// and scored by brute force.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <random>
#include <set>
#include <vector>

#include "keyword_index/keyword_index.hpp"

struct Rows {
    std::vector<int64_t> indptr = {0};
    std::vector<int32_t> keywords;
    std::vector<float> weights;

    void append(const std::vector<std::pair<int32_t, float>>& row) {
        for (const auto& [keyword, weight] : row) {
            keywords.push_back(keyword);
            weights.push_back(weight);
        }
        indptr.push_back(static_cast<int64_t>(keywords.size()));
    }

    void append_rows(const Rows& more) {
        for (size_t row = 1; row < more.indptr.size(); ++row) {
            indptr.push_back(indptr.back() + more.indptr[row] - more.indptr[row - 1]);
        }
        keywords.insert(keywords.end(), more.keywords.begin(), more.keywords.end());
        weights.insert(weights.end(), more.weights.begin(), more.weights.end());
    }

    int64_t size() const { return static_cast<int64_t>(indptr.size()) - 1; }
    mmsrarec::KeywordRows view() const { return {indptr, keywords, weights}; }
};

// Few keywords and few distinct weights, so that ties, duplicates, empty rows and crowded lists are common.
inline Rows random_rows(std::mt19937_64& random, int64_t n_rows, int32_t n_keywords, int most_per_row = 6) {
    Rows rows;
    for (int64_t row = 0; row < n_rows; ++row) {
        std::vector<std::pair<int32_t, float>> entries(random() % (most_per_row + 1));
        for (auto& [keyword, weight] : entries) {
            keyword = static_cast<int32_t>(std::min(random() % n_keywords, random() % n_keywords));
            weight = 0.25f * static_cast<float>(1 + random() % 5);
        }
        rows.append(entries);
    }
    return rows;
}

// The definition: every item scored by itself, in double, keywords ascending.
inline std::vector<mmsrarec::Hit> brute_force(const Rows& items, const std::set<int64_t>& permitted,
                                              const Rows& queries, int64_t query, int64_t k) {
    std::map<int32_t, double> wanted;
    for (int64_t i = queries.indptr[query]; i < queries.indptr[query + 1]; ++i) {
        wanted[queries.keywords[i]] += queries.weights[i];
    }
    std::vector<mmsrarec::Hit> hits;
    for (int64_t item : permitted) {
        std::map<int32_t, double> held;
        for (int64_t i = items.indptr[item]; i < items.indptr[item + 1]; ++i)
            held[items.keywords[i]] += items.weights[i];
        double score = 0.0;
        bool shared = false;
        for (const auto& [keyword, weight] : wanted) {
            const auto found = held.find(keyword);
            if (found == held.end()) continue;
            shared = true;
            score += weight * static_cast<double>(static_cast<float>(found->second));
        }
        if (shared) hits.push_back({item, static_cast<float>(score)});
    }
    std::ranges::sort(hits, mmsrarec::better);
    if (static_cast<int64_t>(hits.size()) > k) hits.resize(k);
    return hits;
}

inline std::vector<mmsrarec::Hit> search_row(const mmsrarec::KeywordIndex& index, const Rows& queries,
                                             int64_t query, int64_t k,
                                             const mmsrarec::Filters& filters = {}) {
    const int64_t start = queries.indptr[query], count = queries.indptr[query + 1] - start;
    return index.search(std::span(queries.keywords).subspan(start, count),
                        std::span(queries.weights).subspan(start, count), k, filters);
}

inline bool same(const std::vector<mmsrarec::Hit>& a, const std::vector<mmsrarec::Hit>& b) {
    return std::ranges::equal(
        a, b, [](const auto& x, const auto& y) { return x.id == y.id && x.score == y.score; });
}
