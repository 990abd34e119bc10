// The bytes of a stored file, mapped or read, and the writing of one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <vector>

#include "poll.hpp"

namespace mmsrarec {

// Whole contents of a file, aligned for any number type; unmapped or freed when destroyed.
class FileBytes {
  public:
    // Throws StoredFileError, naming the file, if it cannot be opened or read.
    FileBytes(const std::filesystem::path& path, bool map);
    ~FileBytes();
    FileBytes(const FileBytes&) = delete;
    FileBytes& operator=(const FileBytes&) = delete;

    std::span<const std::byte> bytes() const { return {begin_, size_}; }

  private:
    std::vector<uint64_t> read_;  // empty when mapped
    const std::byte* begin_ = nullptr;
    size_t size_ = 0;
    bool mapped_ = false;
};

// Writes `parts` one after the other to a new or emptied file. Throws std::system_error with the errno of
// what failed. Whoever calls gives a temporary name, and renames it when this returns.
void write_file(const std::filesystem::path& path, std::span<const std::span<const std::byte>> parts,
                const Poll& poll);

}  // namespace mmsrarec
