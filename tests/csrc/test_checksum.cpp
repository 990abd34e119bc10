#include <cstring>
#include <string_view>

#include "check.hpp"
#include "checksum.hpp"

static uint64_t checksum_of(std::string_view text) {
    return mmsrarec::checksum(std::as_bytes(std::span(text)));
}

// Values of the published XXH64 with seed 0.
TEST(checksum_is_xxh64) {
    CHECK_EQUAL(checksum_of(""), 0xef46db3751d8e999u);
    CHECK_EQUAL(checksum_of("abc"), 0x44bc2cf5ad770999u);
    CHECK_EQUAL(checksum_of("The quick brown fox jumps over the lazy dog"), 0x0b242d361fda71bcu);
}
