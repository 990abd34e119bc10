#include "keyword_index/keyword_rows.hpp"

#include <cmath>
#include <cstdio>
#include <string>

#include "errors.hpp"
#include "row_starts.hpp"

namespace mmsrarec {
namespace {

constexpr int64_t kEntriesBetweenPolls = 1 << 18;

std::string shortest(float number) {
    char text[32];
    std::snprintf(text, sizeof text, "%g", number);
    return text;
}

}  // namespace

void check_rows(const KeywordRows& rows, int64_t n_keywords, const Poll& poll) {
    if (rows.keywords.size() != rows.weights.size()) {
        throw InputError("weights has " + std::to_string(rows.weights.size()) + " entries, keywords has " +
                         std::to_string(rows.keywords.size()) + "; give one weight a keyword.");
    }
    check_row_starts(rows.indptr, rows.keywords.size(), "keywords");
    Pacer pacer(poll, kEntriesBetweenPolls);
    for (size_t i = 0; i < rows.keywords.size(); ++i) {
        if (rows.keywords[i] < 0 || rows.keywords[i] >= n_keywords) {
            throw InputError(at("keywords", i) + " = " + std::to_string(rows.keywords[i]) + " is unknown; " +
                             (n_keywords > 0
                                  ? "ids run from 0 to n_keywords - 1 = " + std::to_string(n_keywords - 1)
                                  : std::string("n_keywords is 0, so there are none")) +
                             ".");
        }
        if (!(rows.weights[i] > 0.0f) || std::isinf(rows.weights[i])) {
            throw InputError(at("weights", i) + " must be finite and above 0, got " +
                             shortest(rows.weights[i]) + ".");
        }
        pacer.advance(1);
    }
}

}  // namespace mmsrarec
