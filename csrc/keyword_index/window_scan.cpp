#include "keyword_index/window_scan.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

#include "bits.hpp"

#if defined(__x86_64__) && defined(__GNUC__)
#define MMSRAREC_X86 1
#include <immintrin.h>
#define MMSRAREC_TARGET(features) __attribute__((target(features)))
#endif

namespace mmsrarec {
namespace {

constexpr int32_t kAtOnce = 64;  // as many as a word has bits

using Take = int32_t (*)(const Stretch&, uint8_t, uint16_t*, uint8_t*);

int32_t write_places(uint64_t found, int32_t first, const uint8_t* levels, uint16_t* places,
                     uint8_t* reached) {
    int32_t n = 0;
    for (; found; found &= found - 1) {
        const int32_t place = std::countr_zero(found);
        places[n] = static_cast<uint16_t>(first + place);
        reached[n++] = levels[place];
    }
    return n;
}

uint64_t reaching(const uint8_t* levels, int least) {
    bool flags[kAtOnce];
    for (int32_t i = 0; i < kAtOnce; ++i) flags[i] = levels[i] >= least;
    uint64_t word = 0;
    gather_bits(flags, kAtOnce, &word);
    return word;
}

// Where adding a list takes a step for each of its positions, those that all lists together could not lift to
// the threshold are left out.
int32_t take_plain(const Stretch& stretch, uint8_t threshold, uint16_t* places, uint8_t* reached) {
    int before = threshold;
    for (const LevelledBits& list : stretch.lists) before -= list.level;
    int32_t n = 0;
    for (int32_t from = stretch.first; from < stretch.first + stretch.count; from += kAtOnce) {
        uint8_t* const levels = stretch.levels + from;
        const int32_t word = from / kAtOnce;
        uint64_t found = before > 0 ? reaching(levels, before) : ~uint64_t{0};
        if (stretch.chosen) found &= stretch.chosen[word];
        if (found) {
            for (const LevelledBits& list : stretch.lists) {
                for (uint64_t left = list.bits[word] & found; left; left &= left - 1) {
                    uint8_t& level = levels[std::countr_zero(left)];
                    level = static_cast<uint8_t>(std::min(level + list.level, kMostLevel));
                }
            }
            found &= reaching(levels, threshold);
            n += write_places(found, from, levels, places + n, reached + n);
        }
        std::memset(levels, 0, kAtOnce);
    }
    return n;
}

#ifdef MMSRAREC_X86
// 32 bits as 32 bytes, 0 or 255.
MMSRAREC_TARGET("avx2") __m256i bytes_of(uint32_t bits) {
    const __m256i byte_of = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2,
                                             2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
    const __m256i bit_of = _mm256_set1_epi64x(static_cast<int64_t>(0x8040201008040201));
    const __m256i spread = _mm256_shuffle_epi8(_mm256_set1_epi32(static_cast<int32_t>(bits)), byte_of);
    return _mm256_cmpeq_epi8(_mm256_and_si256(spread, bit_of), bit_of);
}

MMSRAREC_TARGET("avx2") uint32_t reaching_of(__m256i levels, __m256i least) {
    const __m256i is_most = _mm256_cmpeq_epi8(_mm256_max_epu8(levels, least), levels);
    return static_cast<uint32_t>(_mm256_movemask_epi8(is_most));
}

MMSRAREC_TARGET("avx2")
int32_t take_avx2(const Stretch& stretch, uint8_t threshold, uint16_t* places, uint8_t* reached) {
    const __m256i least = _mm256_set1_epi8(static_cast<char>(threshold));
    int32_t n = 0;
    for (int32_t from = stretch.first; from < stretch.first + stretch.count; from += kAtOnce) {
        auto* const here = reinterpret_cast<__m256i*>(stretch.levels + from);
        const int32_t word = from / kAtOnce;
        __m256i low = _mm256_loadu_si256(here), high = _mm256_loadu_si256(here + 1);
        for (const LevelledBits& list : stretch.lists) {
            const __m256i level = _mm256_set1_epi8(static_cast<char>(list.level));
            const uint64_t bits = list.bits[word];
            const __m256i in_low = bytes_of(static_cast<uint32_t>(bits));
            const __m256i in_high = bytes_of(static_cast<uint32_t>(bits >> 32));
            low = _mm256_adds_epu8(low, _mm256_and_si256(in_low, level));
            high = _mm256_adds_epu8(high, _mm256_and_si256(in_high, level));
        }
        uint64_t found = reaching_of(low, least) | uint64_t{reaching_of(high, least)} << 32;
        if (stretch.chosen) found &= stretch.chosen[word];
        if (found) {
            _mm256_storeu_si256(here, low);
            _mm256_storeu_si256(here + 1, high);
            n += write_places(found, from, stretch.levels + from, places + n, reached + n);
        }
        _mm256_storeu_si256(here, _mm256_setzero_si256());
        _mm256_storeu_si256(here + 1, _mm256_setzero_si256());
    }
    return n;
}

// A mask register is a word of bits, so that adding a list is one instruction for 64 positions. Four words in
// turn keep the number of branches down.
MMSRAREC_TARGET("avx512f,avx512bw")
int32_t take_avx512(const Stretch& stretch, uint8_t threshold, uint16_t* places, uint8_t* reached) {
    constexpr int kWords = 4;
    const __m512i least = _mm512_set1_epi8(static_cast<char>(threshold));
    alignas(64) uint8_t levels[kAtOnce];
    int32_t n = 0;
    for (int32_t from = stretch.first; from < stretch.first + stretch.count; from += kWords * kAtOnce) {
        uint8_t* const here = stretch.levels + from;
        const int32_t word = from / kAtOnce;
        __m512i sums[kWords];
        for (int i = 0; i < kWords; ++i) {
            sums[i] = _mm512_loadu_si512(here + i * kAtOnce);
            _mm512_storeu_si512(here + i * kAtOnce, _mm512_setzero_si512());
        }
        for (const LevelledBits& list : stretch.lists) {
            const __m512i level = _mm512_set1_epi8(static_cast<char>(list.level));
            for (int i = 0; i < kWords; ++i) {
                sums[i] = _mm512_mask_adds_epu8(sums[i], list.bits[word + i], sums[i], level);
            }
        }
        const __m512i most =
            _mm512_max_epu8(_mm512_max_epu8(sums[0], sums[1]), _mm512_max_epu8(sums[2], sums[3]));
        if (!_mm512_cmpge_epu8_mask(most, least)) continue;
        for (int i = 0; i < kWords; ++i) {
            uint64_t found = _mm512_cmpge_epu8_mask(sums[i], least);
            if (stretch.chosen) found &= stretch.chosen[word + i];
            if (!found) continue;
            _mm512_store_si512(levels, sums[i]);
            n += write_places(found, from + i * kAtOnce, levels, places + n, reached + n);
        }
    }
    return n;
}
#endif

struct Chosen {
    const char* name;
    Take take;
};

Chosen choose() {
#ifdef MMSRAREC_X86
    if (__builtin_cpu_supports("avx512bw")) return {"avx512bw", take_avx512};
    if (__builtin_cpu_supports("avx2")) return {"avx2", take_avx2};
#endif
    return {"plain", take_plain};
}

const Chosen kChosen = choose();

}  // namespace

int32_t take_at_least(const Stretch& stretch, uint8_t threshold, uint16_t* places,
                      uint8_t* reached) noexcept {
    return kChosen.take(stretch, threshold, places, reached);
}

const char* vector_instructions() noexcept { return kChosen.name; }

}  // namespace mmsrarec
