#include "row_starts.hpp"

#include "errors.hpp"

namespace mmsrarec {

std::string at(const char* name, size_t position) {
    return std::string(name) + "[" + std::to_string(position) + "]";
}

void check_row_starts(std::span<const int64_t> indptr, size_t n_entries, const char* entries) {
    if (indptr.empty() || indptr[0] != 0) {
        throw InputError(
            indptr.empty()
                ? std::string("indptr is empty; expected one start a row and the end, so [0] for no rows.")
                : "indptr[0] must be 0, got " + std::to_string(indptr[0]) + ".");
    }
    for (size_t i = 1; i < indptr.size(); ++i) {
        if (indptr[i] < indptr[i - 1]) {
            throw InputError(at("indptr", i) + " must not be below " + at("indptr", i - 1) + " = " +
                             std::to_string(indptr[i - 1]) + ", got " + std::to_string(indptr[i]) + ".");
        }
    }
    if (indptr.back() != static_cast<int64_t>(n_entries)) {
        throw InputError(at("indptr", indptr.size() - 1) + " must be the number of " + entries + ", " +
                         std::to_string(n_entries) + ", got " + std::to_string(indptr.back()) + ".");
    }
}

}  // namespace mmsrarec
