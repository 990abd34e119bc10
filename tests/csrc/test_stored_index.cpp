#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "check.hpp"
#include "errors.hpp"
#include "random_rows.hpp"
#include "stored_file.hpp"

using namespace mmsrarec;
namespace fs = std::filesystem;

namespace {

class TemporaryFile {
  public:
    TemporaryFile()
        : path_(fs::temp_directory_path() / ("mmsrarec-native-test-" + std::to_string(::getpid()))) {}
    ~TemporaryFile() { fs::remove(path_); }
    const fs::path& path() const { return path_; }

    std::string read() const {
        std::ifstream file(path_, std::ios::binary);
        return {std::istreambuf_iterator<char>(file), {}};
    }

    void write(const std::string& bytes) const { std::ofstream(path_, std::ios::binary) << bytes; }

  private:
    fs::path path_;
};

constexpr int32_t kKeywords = 25;

std::unique_ptr<KeywordIndex> used_index(std::mt19937_64& random) {
    auto index = KeywordIndex::from_arrays(random_rows(random, 90, kKeywords).view(), kKeywords);
    index->add(random_rows(random, 20, kKeywords).view(), std::nullopt);
    index->remove(std::vector<int64_t>{3, 5, 100});
    return index;
}

bool same_answers(const KeywordIndex& a, const KeywordIndex& b, std::mt19937_64& random) {
    const Rows queries = random_rows(random, 20, kKeywords, 10);
    for (int64_t query = 0; query < queries.size(); ++query) {
        if (!same(search_row(a, queries, query, 9), search_row(b, queries, query, 9))) return false;
    }
    return a.size() == b.size() && a.n_items() == b.n_items() && a.n_keywords() == b.n_keywords();
}

}  // namespace

TEST(open_gives_back_what_was_saved) {
    std::mt19937_64 random(11);
    const TemporaryFile file;
    const auto index = used_index(random);
    index->save(file.path());
    for (bool map : {true, false}) {
        const auto opened = KeywordIndex::open(file.path(), map);
        CHECK(same_answers(*index, *opened, random));
        opened->add(random_rows(random, 5, kKeywords).view(), std::nullopt);
        opened->remove(std::vector<int64_t>{0});
        CHECK_EQUAL(opened->size(), index->size() + 4);
    }
}

TEST(empty_index_can_be_saved) {
    const TemporaryFile file;
    KeywordIndex::from_arrays(Rows{}.view(), 3)->save(file.path());
    const auto opened = KeywordIndex::open(file.path(), true);
    CHECK_EQUAL(opened->size(), 0);
    CHECK_EQUAL(opened->n_keywords(), 3);
}

TEST(every_truncation_is_refused) {
    std::mt19937_64 random(12);
    const TemporaryFile file;
    used_index(random)->save(file.path());
    const std::string whole = file.read();
    for (size_t size = 0; size < whole.size(); size += 1 + random() % 40) {
        file.write(whole.substr(0, size));
        for (bool map : {true, false}) {
            const std::string message =
                message_of<StoredFileError>([&] { KeywordIndex::open(file.path(), map); });
            CHECK(message.find(file.path().string()) != std::string::npos);
        }
    }
    file.write(whole + "x");
    message_of<StoredFileError>([&] { KeywordIndex::open(file.path(), true); });
}

TEST(every_bit_flip_is_refused_or_harmless) {
    std::mt19937_64 random(13);
    const TemporaryFile file;
    const auto index = used_index(random);
    index->save(file.path());
    const std::string whole = file.read();
    int refused = 0, opened = 0;
    for (int flip = 0; flip < 600; ++flip) {
        std::string damaged = whole;
        damaged[random() % whole.size()] ^= static_cast<char>(1 << (random() % 8));
        file.write(damaged);
        try {
            const auto copy = KeywordIndex::open(file.path(), flip % 2 == 0);
            CHECK(same_answers(*index, *copy, random));
            ++opened;
        } catch (const StoredFileError&) {
            ++refused;
        }
    }
    CHECK(refused > 400);  // the rest fell between sections
}

// A file whose checksums are right but whose content is not must not lead searches outside of it either.
TEST(wrong_content_under_right_checksums_is_refused_or_searchable) {
    std::mt19937_64 random(14);
    const TemporaryFile file;
    used_index(random)->save(file.path());
    const std::string whole = file.read();
    int refused = 0;
    for (int round = 0; round < 600; ++round) {
        std::string damaged = whole;
        const size_t first = round % 3 ? kHeaderChecksum + 8 : 8;  // the content, or the header too
        for (int change = 0; change < 1 + round % 4; ++change) {
            damaged[first + random() % (whole.size() - first)] ^= static_cast<char>(1 << (random() % 8));
        }
        put_checksums_right(damaged);
        file.write(damaged);
        try {
            const auto opened = KeywordIndex::open(file.path(), true);
            const Rows queries = random_rows(random, 5, kKeywords, 10);
            for (int64_t query = 0; query < queries.size(); ++query) {
                if (opened->n_keywords() >= kKeywords) search_row(*opened, queries, query, 9);
            }
            opened->add(Rows{{0, 0}, {}, {}}.view(), std::nullopt);
            opened->remove(std::vector<int64_t>{0});
        } catch (const StoredFileError&) {
            ++refused;
        }
    }
    CHECK(refused > 150);
}

TEST(foreign_newer_and_missing_files_are_named) {
    std::mt19937_64 random(15);
    const TemporaryFile file;
    const auto refusal = [&] {
        return message_of<StoredFileError>([&] { KeywordIndex::open(file.path(), true); });
    };
    CHECK(refusal().find("does not exist") != std::string::npos);
    file.write(
        "PK\x03\x04 something else that is long enough to hold a header, were it one of ours "
        "...............");
    CHECK(refusal().find("is not a keyword index") != std::string::npos);
    used_index(random)->save(file.path());
    std::string newer = file.read();
    newer[8] = 4;
    file.write(newer);
    CHECK(refusal().find("format version 4, this mmsrarec reads up to 3") != std::string::npos);
    newer[8] = 1;
    file.write(newer);
    CHECK(refusal().find("build the index again") != std::string::npos);
    CHECK(message_of<StoredFileError>([] {
              KeywordIndex::open(fs::temp_directory_path(), true);
          }).find("not a regular file") != std::string::npos);
}

TEST(a_file_that_cannot_be_written_is_a_system_error) {
    std::mt19937_64 random(16);
    message_of<std::system_error>([&] { used_index(random)->save("/nowhere/at/all"); });
    message_of<std::system_error>([&] { used_index(random)->save("/dev/full"); });
}
