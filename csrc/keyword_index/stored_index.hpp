// The file of a keyword index: how a snapshot is laid out on disk, written, and read with every byte checked.
//
// A header of fixed size, then sections, each at a multiple of 64 bytes, in the byte order of the writer:
//   magic "MMSRKWIX", format version, byte order mark, size of the file, numbers of items and keywords,
//   for each section its offset, size and XXH64; last the XXH64 of the header before it.
//   sections: the arrays of a Segment (segment.hpp), then alive uint64 (empty: all alive)
#pragma once

#include <filesystem>

#include "keyword_index/search.hpp"
#include "poll.hpp"

namespace mmsrarec {

// Writes a snapshot of at most one segment to `path`, a temporary name. Throws std::system_error if it
// cannot.
void write_snapshot(const Snapshot& snapshot, const std::filesystem::path& path, const Poll& poll = {});

// Reads a snapshot; with `map` its arrays stay on disk until used. Throws StoredFileError, naming the file,
// if it is missing, truncated, damaged, foreign, or of a newer format; whatever is returned is safe to
// search.
Snapshot read_snapshot(const std::filesystem::path& path, bool map, const Poll& poll = {});

}  // namespace mmsrarec
