#include "file_bytes.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include "errors.hpp"

namespace mmsrarec {
namespace {

constexpr size_t kBytesAtOnce = size_t{16} << 20;

// Closes a file descriptor when its scope ends.
class Descriptor {
  public:
    explicit Descriptor(int number) : number_(number) {}
    ~Descriptor() {
        if (number_ >= 0) ::close(number_);
    }
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    operator int() const { return number_; }
    int release() { return std::exchange(number_, -1); }

  private:
    int number_;
};

[[noreturn]] void refuse(const std::filesystem::path& path) {
    if (errno == ENOENT) throw StoredFileError(path.string() + " does not exist.");
    throw StoredFileError(path.string() + " could not be read: " + std::strerror(errno) + ".");
}

}  // namespace

FileBytes::FileBytes(const std::filesystem::path& path, bool map) {
    Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    struct stat status;
    if (file < 0 || ::fstat(file, &status) != 0) refuse(path);
    if (!S_ISREG(status.st_mode)) throw StoredFileError(path.string() + " is not a regular file.");
    size_ = static_cast<size_t>(status.st_size);
    if (size_ == 0) return;
    if (map) {
        void* const address = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file, 0);
        if (address == MAP_FAILED) refuse(path);
        begin_ = static_cast<const std::byte*>(address);
        mapped_ = true;
        return;
    }
    read_.resize((size_ + 7) / 8);
    auto* const to = reinterpret_cast<std::byte*>(read_.data());
    begin_ = to;
    for (size_t done = 0; done < size_;) {
        const ssize_t got = ::read(file, to + done, std::min(size_ - done, kBytesAtOnce));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) refuse(path);
        if (got == 0) throw StoredFileError(path.string() + " became shorter while it was read.");
        done += static_cast<size_t>(got);
    }
}

FileBytes::~FileBytes() {
    if (mapped_) ::munmap(const_cast<std::byte*>(begin_), size_);
}

void write_file(const std::filesystem::path& path, std::span<const std::span<const std::byte>> parts,
                const Poll& poll) {
    Descriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    if (file < 0) throw std::system_error(errno, std::generic_category(), path.string());
    for (std::span<const std::byte> left : parts) {
        while (!left.empty()) {
            const ssize_t put = ::write(file, left.data(), std::min(left.size(), kBytesAtOnce));
            if (put < 0 && errno == EINTR) continue;
            if (put < 0) throw std::system_error(errno, std::generic_category(), path.string());
            left = left.subspan(static_cast<size_t>(put));
            if (poll) poll();
        }
    }
    if (::fsync(file) != 0 || ::close(file.release()) != 0) {
        throw std::system_error(errno, std::generic_category(), path.string());
    }
}

}  // namespace mmsrarec
