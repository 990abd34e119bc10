// What tests know of the layout of a stored keyword index, to damage one so that only its content is wrong.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string>

#include "checksum.hpp"

constexpr size_t kSections = 40, kSectionCount = 10, kEntry = 24;
constexpr size_t kHeaderChecksum = kSections + kSectionCount * kEntry;

// Writes the checksums that the bytes of a file, at least a header, should have into their places.
inline void put_checksums_right(std::string& file) {
    const auto put = [&file](size_t place, size_t offset, size_t size) {
        const uint64_t sum = mmsrarec::checksum(std::as_bytes(std::span(file).subspan(offset, size)));
        std::memcpy(file.data() + place, &sum, sizeof sum);
    };
    for (size_t section = 0; section < kSectionCount; ++section) {
        const size_t entry = kSections + section * kEntry;
        uint64_t offset, size;
        std::memcpy(&offset, file.data() + entry, sizeof offset);
        std::memcpy(&size, file.data() + entry + 8, sizeof size);
        if (offset <= file.size() && size <= file.size() - offset) put(entry + 16, offset, size);
    }
    put(kHeaderChecksum, 0, kHeaderChecksum);
}
