// Catalogues large enough for what small ones never reach: several windows, tiers, bits.
#pragma once

#include <cmath>

#include "random_rows.hpp"

enum class Weights { kEqual, kFewValues, kSkewed, kWide, kHuge };
constexpr int kKindsOfWeights = 5;

inline float random_weight(std::mt19937_64& random, Weights kind) {
    const double share = static_cast<double>(random() >> 11) * 0x1p-53;
    switch (kind) {
        case Weights::kEqual:
            return 1.0f;
        case Weights::kFewValues:
            return random() % 8 ? 1.0f : 1.0f + 0.25f * static_cast<float>(random() % 4);
        case Weights::kSkewed:
            return static_cast<float>(std::exp(8.0 * share * share - 2.0));
        case Weights::kWide:
            return static_cast<float>(std::pow(10.0, 24.0 * share - 12.0));
        default:
            return static_cast<float>(std::pow(10.0, 60.0 * share - 30.0));
    }
}

// Keyword 0 is on about half of the items, the last on a few: the frequency falls as one over the rank.
inline int32_t random_keyword(std::mt19937_64& random, int32_t n_keywords) {
    const double share = static_cast<double>(random() >> 11) * 0x1p-53;
    return std::min(n_keywords - 1, static_cast<int32_t>(std::pow(n_keywords + 1.0, share)) - 1);
}

inline Rows random_catalogue(std::mt19937_64& random, int64_t n_rows, int32_t n_keywords, int per_row,
                             Weights kind) {
    Rows rows;
    for (int64_t row = 0; row < n_rows; ++row) {
        std::vector<std::pair<int32_t, float>> entries(per_row);
        for (auto& [keyword, weight] : entries) {
            keyword = random_keyword(random, n_keywords);
            weight = random_weight(random, kind);
        }
        rows.append(entries);
    }
    return rows;
}

// What brute_force gives, fast enough for a catalogue: items without a repeated keyword need no map.
class Catalogue {
  public:
    Catalogue(const Rows& rows, int32_t n_keywords) : lists_(n_keywords), n_items_(rows.size()) {
        for (int64_t row = 0; row < rows.size(); ++row) {
            std::map<int32_t, double> held;
            for (int64_t i = rows.indptr[row]; i < rows.indptr[row + 1]; ++i) {
                held[rows.keywords[i]] += rows.weights[i];
            }
            for (const auto& [keyword, weight] : held) {
                lists_[keyword].push_back({row, static_cast<float>(weight)});
            }
        }
    }

    std::vector<mmsrarec::Hit> search(const Rows& queries, int64_t query, int64_t k,
                                      const std::vector<bool>& permitted) const {
        std::map<int32_t, double> wanted;
        for (int64_t i = queries.indptr[query]; i < queries.indptr[query + 1]; ++i) {
            wanted[queries.keywords[i]] += queries.weights[i];
        }
        std::vector<double> sums(n_items_, 0.0);
        for (const auto& [keyword, weight] : wanted) {
            for (const auto& [item, held] : lists_[keyword]) sums[item] += weight * static_cast<double>(held);
        }
        std::vector<mmsrarec::Hit> hits;
        for (int64_t item = 0; item < n_items_; ++item) {
            if (sums[item] > 0.0 && permitted[item]) hits.push_back({item, static_cast<float>(sums[item])});
        }
        const auto end = hits.begin() + std::min<int64_t>(k, static_cast<int64_t>(hits.size()));
        std::partial_sort(hits.begin(), end, hits.end(), mmsrarec::better);
        hits.erase(end, hits.end());
        return hits;
    }

  private:
    std::vector<std::vector<std::pair<int64_t, float>>> lists_;
    int64_t n_items_;
};
