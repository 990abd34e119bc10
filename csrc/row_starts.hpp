// Rows of entries laid one after the other: row i is [indptr[i], indptr[i + 1]).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace mmsrarec {

// How an error names one entry of an argument: "items[3]".
std::string at(const char* name, size_t position);

// Throws InputError, naming what is wrong, unless `indptr` starts at 0, never falls and ends at `n_entries`,
// the number of `entries`.
void check_row_starts(std::span<const int64_t> indptr, size_t n_entries, const char* entries);

}  // namespace mmsrarec
