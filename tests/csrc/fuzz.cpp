// Random catalogues, changes, queries, filters and damaged files for as many seconds as the first argument
// says, held against brute force; the second argument is the seed. Run by `make fuzz-native`.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "errors.hpp"
#include "random_catalogue.hpp"
#include "stored_file.hpp"

using namespace mmsrarec;
namespace fs = std::filesystem;

namespace {

struct Counts {
    int64_t catalogues = 0, queries = 0, files = 0, refused = 0;
};

[[noreturn]] void fail(const char* what, uint64_t seed) {
    std::printf("FAILED: %s with seed %llu\n", what, static_cast<unsigned long long>(seed));
    std::exit(1);
}

void fuzz_queries(uint64_t seed, Counts& counts) {
    std::mt19937_64 random(seed);
    const int32_t n_keywords = random() % 3 ? static_cast<int32_t>(1 + random() % 300) : 100000;
    const int64_t sizes[] = {0, 1, 50, 2000, 65536, 65537, 140000};
    const auto kind = static_cast<Weights>(random() % kKindsOfWeights);
    const auto most = static_cast<int>(1 + random() % 6);
    Rows items = random_catalogue(random, sizes[random() % 7], n_keywords, most, kind);
    const auto index = KeywordIndex::from_arrays(items.view(), n_keywords);
    std::vector<bool> permitted(items.size(), true);
    for (int step = 0; step < 4; ++step) {
        if (random() % 2) {
            const Rows added = random_catalogue(random, random() % 3000, n_keywords, most, kind);
            index->add(added.view(), std::nullopt);
            items.append_rows(added);
            permitted.resize(items.size(), true);
        }
        if (random() % 2 && items.size() > 0) {
            std::vector<int64_t> gone(random() % 200);
            for (int64_t& id : gone) id = static_cast<int64_t>(random() % items.size());
            index->remove(gone);
            for (int64_t id : gone) permitted[id] = false;
        }
        const Catalogue catalogue(items, n_keywords);
        for (int round = 0; round < 4; ++round) {
            const auto query_kind = static_cast<Weights>(random() % kKindsOfWeights);
            const Rows query =
                random_catalogue(random, 1, n_keywords, static_cast<int>(random() % 60), query_kind);
            const auto k = static_cast<int64_t>(random() % (round ? 200 : 20000));
            std::vector<bool> left = permitted;
            std::vector<int64_t> allow;
            Filters filters;
            if (random() % 2 && items.size() > 0) {
                allow.resize(random() % (2 * items.size()) >> (random() % 12));
                for (int64_t& id : allow) id = static_cast<int64_t>(random() % items.size());
                std::vector<bool> allowed(items.size(), false);
                for (int64_t id : allow) allowed[id] = true;
                for (int64_t id = 0; id < items.size(); ++id) left[id] = left[id] && allowed[id];
                filters.allow = std::span<const int64_t>(allow);
            }
            if (!same(search_row(*index, query, 0, k, filters), catalogue.search(query, 0, k, left))) {
                fail("another answer than brute force", seed);
            }
            ++counts.queries;
        }
    }
    ++counts.catalogues;
}

// Damages a saved index, often with its checksums put right again: it must be refused or searchable.
void fuzz_file(uint64_t seed, const fs::path& path, Counts& counts) {
    std::mt19937_64 random(seed);
    constexpr int32_t kKeywords = 40;
    const int64_t n_items = random() % 8 ? static_cast<int64_t>(random() % 300) : 70000;
    const auto index = KeywordIndex::from_arrays(
        random_catalogue(random, n_items, kKeywords, 3, static_cast<Weights>(random() % kKindsOfWeights))
            .view(),
        kKeywords);
    index->save(path);
    std::ifstream in(path, std::ios::binary);
    const std::string whole{std::istreambuf_iterator<char>(in), {}};
    for (int round = 0; round < 30; ++round) {
        std::string damaged = whole;
        const uint64_t changes = 1 + random() % 6;
        for (uint64_t change = 0; change < changes; ++change) {
            const size_t end = random() % 3 ? damaged.size() : std::min<size_t>(damaged.size(), 2048);
            damaged[random() % end] = static_cast<char>(random());
        }
        if (random() % 8 == 0) damaged.resize(random() % damaged.size());
        if (random() % 4 && damaged.size() > kHeaderChecksum + 8) put_checksums_right(damaged);
        std::ofstream(path, std::ios::binary) << damaged;
        ++counts.files;
        try {
            const auto opened = KeywordIndex::open(path, round % 2 == 0);
            const Rows query = random_catalogue(random, 1, kKeywords, 12, Weights::kFewValues);
            if (opened->n_keywords() >= kKeywords) search_row(*opened, query, 0, 9);
            if (opened->n_items() > 0) opened->remove(std::vector<int64_t>{0});
            opened->add(Rows{{0, 0}, {}, {}}.view(), std::nullopt);
            if (opened->n_keywords() >= kKeywords) search_row(*opened, query, 0, 2000);
        } catch (const StoredFileError&) {
            ++counts.refused;
        } catch (const InputError&) {
            ++counts.refused;  // such as no ids left, when the number of items was changed
        }
    }
}

}  // namespace

int main(int argc, char** argv) {
    const double seconds = argc > 1 ? std::atof(argv[1]) : 10.0;
    uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : std::random_device{}();
    const auto path = fs::temp_directory_path() / ("mmsrarec-fuzz-" + std::to_string(seed));
    std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
    Counts counts;
    const auto start = std::chrono::steady_clock::now();
    while (std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() < seconds) {
        fuzz_queries(seed, counts);
        for (int i = 0; i < 10; ++i) fuzz_file(++seed, path, counts);
    }
    fs::remove(path);
    std::printf(
        "%lld catalogues, %lld queries equal to brute force, %lld damaged files, %lld of them refused\n",
        static_cast<long long>(counts.catalogues), static_cast<long long>(counts.queries),
        static_cast<long long>(counts.files), static_cast<long long>(counts.refused));
}
