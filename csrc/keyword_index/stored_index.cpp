#include "keyword_index/stored_index.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <type_traits>

#include "checksum.hpp"
#include "errors.hpp"
#include "file_bytes.hpp"

namespace mmsrarec {
namespace {

constexpr std::array<char, 8> kMagic = {'M', 'M', 'S', 'R', 'K', 'W', 'I', 'X'};
constexpr uint32_t kVersion = 1;
constexpr uint32_t kByteOrder = 0x01020304;
constexpr uint64_t kAlignment = 64;

enum Section { kKeywords, kStarts, kItems, kWeights, kAlive, kSections };
constexpr std::array<const char*, kSections> kNames = {"keywords", "starts", "items", "weights", "alive"};

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

bool well_formed_list(std::span<const int32_t> items, std::span<const float> weights, int64_t n_items) {
    if (items.empty() || items.front() < 0 || items.back() >= n_items) return false;
    bool good = true;
    for (size_t i = 1; i < items.size(); ++i) good &= items[i - 1] < items[i];
    for (float weight : weights) good &= weight > 0.0f && weight <= std::numeric_limits<float>::max();
    return good;
}

// A checksum proves that the bytes are those that were written; this proves that searching them stays inside
// them, whoever wrote them.
bool well_formed(const Segment& segment, int64_t n_keywords, const Poll& poll) {
    if (segment.starts.size() != segment.keywords.size() + 1 || segment.starts.front() != 0 ||
        segment.starts.back() != static_cast<int64_t>(segment.items.size()) ||
        segment.items.size() != segment.weights.size()) {
        return false;
    }
    Pacer pacer(poll, 1 << 20);
    int32_t before = -1;
    for (size_t slot = 0; slot < segment.keywords.size(); ++slot) {
        const int64_t start = segment.starts[slot], end = segment.starts[slot + 1];
        const bool inside = start < end && end <= static_cast<int64_t>(segment.items.size());
        if (!inside || segment.keywords[slot] <= before || segment.keywords[slot] >= n_keywords) return false;
        before = segment.keywords[slot];
        if (!well_formed_list(segment.items.subspan(start, end - start),
                              segment.weights.subspan(start, end - start), segment.n_items)) {
            return false;
        }
        pacer.advance(end - start);
    }
    return true;
}

}  // namespace

void write_snapshot(const Snapshot& snapshot, const std::filesystem::path& path, const Poll& poll) {
    static constexpr int64_t kNoStarts[] = {0};
    Segment segment;
    segment.starts = kNoStarts;
    if (!snapshot.segments.empty()) segment = *snapshot.segments.front();
    const std::array<Bytes, kSections> sections = {
        std::as_bytes(segment.keywords), std::as_bytes(segment.starts), std::as_bytes(segment.items),
        std::as_bytes(segment.weights), snapshot.alive ? std::as_bytes(snapshot.alive->words()) : Bytes{}};

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
    segment->starts = read_section<int64_t>(name, file->bytes(), header, kStarts);
    segment->items = read_section<int32_t>(name, file->bytes(), header, kItems);
    if (poll) poll();
    segment->weights = read_section<float>(name, file->bytes(), header, kWeights);
    const auto words = read_section<uint64_t>(name, file->bytes(), header, kAlive);
    segment->owner = file;

    constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
    const bool sizes_fit =
        header.n_items >= 0 && header.n_items <= kMost && header.n_keywords >= 0 &&
        header.n_keywords <= kMost &&
        (words.empty() || static_cast<int64_t>(words.size()) == (header.n_items + 63) / 64);
    if (!sizes_fit || segment->starts.empty() || !well_formed(*segment, header.n_keywords, poll)) {
        throw StoredFileError(name + " holds lists that contradict each other; it is damaged.");
    }
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
