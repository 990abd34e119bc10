#include "keyword_index/stored_index.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <type_traits>
#include <vector>

#include "checksum.hpp"
#include "errors.hpp"
#include "file_bytes.hpp"

namespace mmsrarec {
namespace {

constexpr std::array<char, 8> kMagic = {'M', 'M', 'S', 'R', 'K', 'W', 'I', 'X'};
constexpr uint32_t kVersion = 3;
constexpr uint32_t kByteOrder = 0x01020304;
constexpr uint64_t kAlignment = 64;

enum Section {
    kKeywords,
    kTiers,
    kLists,
    kWindowStarts,
    kOffsets,
    kPositions,
    kWeights,
    kIds,
    kAlive,
    kSections
};
constexpr std::array<const char*, kSections> kNames = {
    "keywords", "tiers", "lists", "window_starts", "offsets", "positions", "weights", "ids", "alive"};

struct SectionEntry {
    uint64_t offset;
    uint64_t bytes;
    uint64_t checksum;
};

struct Header {
    std::array<char, 8> magic;
    uint32_t version;
    uint32_t byte_order;
    uint64_t file_bytes;
    int64_t n_items;
    int64_t n_keywords;
    std::array<SectionEntry, kSections> sections;
    uint64_t checksum;
};
static_assert(std::is_trivially_copyable_v<Header> && std::has_unique_object_representations_v<Header>);

using Bytes = std::span<const std::byte>;

uint64_t header_checksum(const Header& header) {
    return checksum(Bytes(reinterpret_cast<const std::byte*>(&header), offsetof(Header, checksum)));
}

uint64_t aligned(uint64_t offset) { return (offset + kAlignment - 1) / kAlignment * kAlignment; }

// Reads the header and holds it against the size of the file.
Header read_header(const std::string& name, Bytes file) {
    const bool ours =
        file.size() >= kMagic.size() && std::memcmp(file.data(), kMagic.data(), kMagic.size()) == 0;
    if (!ours)
        throw StoredFileError(name + " is not a keyword index: it does not begin with its magic number.");
    if (file.size() < sizeof(Header)) {
        throw StoredFileError(name + " has " + std::to_string(file.size()) +
                              " bytes, less than its header; it is truncated.");
    }
    Header header;
    std::memcpy(&header, file.data(), sizeof header);
    if (header.byte_order != kByteOrder) {
        throw StoredFileError(name + " is damaged, or was written on a machine of another byte order.");
    }
    if (header.version > kVersion) {
        throw StoredFileError(name + " has format version " + std::to_string(header.version) +
                              ", this mmsrarec reads up to " + std::to_string(kVersion) +
                              "; install a newer mmsrarec.");
    }
    if (header.version < kVersion) {
        throw StoredFileError(name + " has format version " + std::to_string(header.version) +
                              " of an early mmsrarec, which is no longer read; build the index again.");
    }
    if (header.checksum != header_checksum(header)) {
        throw StoredFileError(name + ": the header does not match its checksum; it is damaged.");
    }
    if (header.file_bytes != file.size()) {
        throw StoredFileError(name + " has " + std::to_string(file.size()) + " bytes, expected " +
                              std::to_string(header.file_bytes) + "; it is truncated or was added to.");
    }
    return header;
}

template <typename Number>
std::span<const Number> read_section(const std::string& name, Bytes file, const Header& header,
                                     Section which) {
    const SectionEntry& entry = header.sections[which];
    const bool inside = entry.offset % kAlignment == 0 && entry.offset <= file.size() &&
                        entry.bytes <= file.size() - entry.offset && entry.bytes % sizeof(Number) == 0;
    if (!inside)
        throw StoredFileError(name + ": section " + kNames[which] + " lies outside the file; it is damaged.");
    const Bytes bytes = file.subspan(entry.offset, entry.bytes);
    if (checksum(bytes) != entry.checksum) {
        throw StoredFileError(name + ": section " + kNames[which] +
                              " does not match its checksum; it is damaged.");
    }
    return {reinterpret_cast<const Number*>(bytes.data()), bytes.size() / sizeof(Number)};
}

// Whether [first, first + count) lies in an array of `size`.
bool inside(int64_t first, int64_t count, size_t size) {
    return first >= 0 && count >= 0 && first <= static_cast<int64_t>(size) - count;
}

template <typename Number>
bool rising(const Number* values, int64_t count) {
    bool good = true;
    for (int64_t i = 1; i < count; ++i) good &= values[i - 1] < values[i];
    return good;
}

bool well_formed_postings(const Segment& segment, const PostingList& list) {
    if (list.whole) {
        const int32_t* positions = segment.positions.data() + list.first;
        return positions[0] >= 0 && positions[list.count - 1] < segment.n_items &&
               rising(positions, list.count);
    }
    for (int32_t window = 0; window < segment.n_windows(); ++window) {
        const Block part = segment.block(list, window);
        if (part.count == 0) continue;
        const int64_t last = (int64_t{window} << kWindowBits) + part.offsets[part.count - 1];
        if (last >= segment.n_items || !rising(part.offsets, part.count)) return false;
    }
    return true;
}

bool well_formed_list(const Segment& segment, const PostingList& list) {
    const bool sizes =
        list.count > 0 && (list.whole == 0 || list.whole == 1) && list.least > 0.0f &&
        list.least <= list.most && list.most <= std::numeric_limits<float>::max() &&
        inside(list.first, list.count, list.whole ? segment.positions.size() : segment.offsets.size()) &&
        (list.constant() || inside(list.weights, list.count, segment.weights.size()));
    if (!sizes) return false;
    if (!list.whole && segment.n_windows() > 1) {
        const int64_t n_windows = segment.n_windows();
        if (!inside(list.windows, n_windows + 1, segment.window_starts.size())) return false;
        const int32_t* starts = segment.window_starts.data() + list.windows;
        if (starts[0] != 0 || starts[n_windows] != list.count) return false;
        for (int64_t window = 0; window < n_windows; ++window) {
            if (starts[window] > starts[window + 1]) return false;
        }
    }
    bool good = true;
    for (int32_t i = 0; !list.constant() && i < list.count; ++i) {
        const float weight = segment.weights[list.weights + i];
        good &= weight >= list.least && weight <= list.most;
    }
    return good && well_formed_postings(segment, list);
}

// Whether `ids` names each of n_items positions once.
bool well_formed_ids(std::span<const int32_t> ids, int64_t n_items) {
    if (ids.empty()) return true;
    if (static_cast<int64_t>(ids.size()) != n_items) return false;
    std::vector<bool> seen(n_items, false);
    for (int32_t id : ids) {
        if (id < 0 || id >= n_items || seen[id]) return false;
        seen[id] = true;
    }
    return true;
}

// A checksum proves that the bytes are those that were written; this proves that searching them stays inside
// them, whoever wrote them.
bool well_formed(const Segment& segment, int64_t n_keywords, const Poll& poll) {
    const size_t n_slots = segment.keywords.size();
    if (segment.tiers.size() != n_slots + 1 || segment.tiers.front() != 0 ||
        segment.tiers.back() != static_cast<int64_t>(segment.lists.size()) ||
        !rising(segment.keywords.data(), static_cast<int64_t>(n_slots)) ||
        (n_slots > 0 && (segment.keywords.front() < 0 || segment.keywords.back() >= n_keywords)) ||
        (segment.n_items == 0 && n_slots > 0) || !well_formed_ids(segment.ids, segment.n_items)) {
        return false;
    }
    for (size_t slot = 0; slot < n_slots; ++slot) {
        const int64_t n_tiers = int64_t{segment.tiers[slot + 1]} - segment.tiers[slot];
        if (n_tiers < 1 || n_tiers > kMostTiers) return false;
    }
    Pacer pacer(poll, 1 << 20);
    for (const PostingList& list : segment.lists) {
        if (!well_formed_list(segment, list)) return false;
        pacer.advance(list.count);
    }
    return true;
}

}  // namespace

void write_snapshot(const Snapshot& snapshot, const std::filesystem::path& path, const Poll& poll) {
    static constexpr int32_t kNoTiers[] = {0};
    Segment empty;
    empty.tiers = kNoTiers;
    const Segment& segment = snapshot.segments.empty() ? empty : *snapshot.segments.front();
    const std::array<Bytes, kSections> sections = {
        std::as_bytes(segment.keywords),
        std::as_bytes(segment.tiers),
        std::as_bytes(segment.lists),
        std::as_bytes(segment.window_starts),
        std::as_bytes(segment.offsets),
        std::as_bytes(segment.positions),
        std::as_bytes(segment.weights),
        std::as_bytes(segment.ids),
        snapshot.alive ? std::as_bytes(snapshot.alive->words()) : Bytes{}};

    Header header{kMagic, kVersion, kByteOrder, 0, snapshot.n_items, snapshot.n_keywords, {}, 0};
    static constexpr std::array<std::byte, kAlignment> kPadding{};
    std::vector<Bytes> parts = {Bytes(reinterpret_cast<const std::byte*>(&header), sizeof header)};
    uint64_t end = sizeof header;
    for (int i = 0; i < kSections; ++i) {
        parts.push_back(Bytes(kPadding).first(aligned(end) - end));
        parts.push_back(sections[i]);
        header.sections[i] = {aligned(end), sections[i].size(), checksum(sections[i])};
        end = aligned(end) + sections[i].size();
    }
    header.file_bytes = end;
    header.checksum = header_checksum(header);
    write_file(path, parts, poll);
}

Snapshot read_snapshot(const std::filesystem::path& path, bool map, const Poll& poll) {
    const std::string name = path.string();
    const auto file = std::make_shared<const FileBytes>(path, map);
    const Header header = read_header(name, file->bytes());

    auto segment = std::make_shared<Segment>();
    segment->n_items = header.n_items;
    segment->keywords = read_section<int32_t>(name, file->bytes(), header, kKeywords);
    segment->tiers = read_section<int32_t>(name, file->bytes(), header, kTiers);
    segment->lists = read_section<PostingList>(name, file->bytes(), header, kLists);
    segment->window_starts = read_section<int32_t>(name, file->bytes(), header, kWindowStarts);
    segment->offsets = read_section<uint16_t>(name, file->bytes(), header, kOffsets);
    segment->positions = read_section<int32_t>(name, file->bytes(), header, kPositions);
    if (poll) poll();
    segment->weights = read_section<float>(name, file->bytes(), header, kWeights);
    segment->ids = read_section<int32_t>(name, file->bytes(), header, kIds);
    const auto words = read_section<uint64_t>(name, file->bytes(), header, kAlive);
    segment->owner = file;

    constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
    const bool sizes_fit =
        header.n_items >= 0 && header.n_items <= kMost && header.n_keywords >= 0 &&
        header.n_keywords <= kMost &&
        (words.empty() || static_cast<int64_t>(words.size()) == (header.n_items + 63) / 64);
    if (!sizes_fit || segment->tiers.empty() || !well_formed(*segment, header.n_keywords, poll)) {
        throw StoredFileError(name + " holds lists that contradict each other; it is damaged.");
    }
    segment->derive(poll);
    Snapshot snapshot;
    snapshot.n_items = header.n_items;
    snapshot.n_keywords = header.n_keywords;
    segment->n_alive = header.n_items;
    if (!words.empty()) {
        snapshot.alive = std::make_shared<const IdSet>(header.n_items, words);
        segment->n_alive = snapshot.alive->count(0, header.n_items);
        snapshot.n_removed = header.n_items - segment->n_alive;
    }
    if (header.n_items > 0) snapshot.segments.push_back(std::move(segment));
    return snapshot;
}

}  // namespace mmsrarec
