#include "keyword_index/window_scan.hpp"

#include <bit>
#include <cstring>

#if defined(__x86_64__) && defined(__GNUC__)
#define MMSRAREC_X86 1
#include <immintrin.h>
#define MMSRAREC_TARGET(features) __attribute__((target(features)))
#endif

namespace mmsrarec {
namespace {

constexpr int32_t kAtOnce = 64;

using Take = int32_t (*)(float*, int32_t, float, uint16_t*, float*);

int32_t write_places(uint64_t reached, int32_t first, const float* sums, uint16_t* places, float* values) {
    int32_t n = 0;
    for (; reached; reached &= reached - 1) {
        const int32_t place = first + std::countr_zero(reached);
        places[n] = static_cast<uint16_t>(place);
        values[n++] = sums[place];
    }
    return n;
}

int32_t take_plain(float* sums, int32_t count, float threshold, uint16_t* places, float* values) {
    int32_t found = 0;
    for (int32_t first = 0; first < count; first += kAtOnce) {
        uint64_t reached = 0;
        for (int32_t i = 0; i < kAtOnce; ++i) reached |= uint64_t{sums[first + i] >= threshold} << i;
        found += write_places(reached, first, sums, places + found, values + found);
        std::memset(sums + first, 0, kAtOnce * sizeof(float));
    }
    return found;
}

#ifdef MMSRAREC_X86
MMSRAREC_TARGET("avx2")
int32_t take_avx2(float* sums, int32_t count, float threshold, uint16_t* places, float* values) {
    const __m256 least = _mm256_set1_ps(threshold);
    int32_t found = 0;
    for (int32_t first = 0; first < count; first += kAtOnce) {
        uint64_t reached = 0;
        for (int32_t i = 0; i < kAtOnce; i += 8) {
            const __m256 part = _mm256_loadu_ps(sums + first + i);
            const int mask = _mm256_movemask_ps(_mm256_cmp_ps(part, least, _CMP_GE_OQ));
            reached |= static_cast<uint64_t>(mask) << i;
        }
        if (reached) found += write_places(reached, first, sums, places + found, values + found);
        for (int32_t i = 0; i < kAtOnce; i += 8) _mm256_storeu_ps(sums + first + i, _mm256_setzero_ps());
    }
    return found;
}

MMSRAREC_TARGET("avx512f")
int32_t take_avx512(float* sums, int32_t count, float threshold, uint16_t* places, float* values) {
    const __m512 least = _mm512_set1_ps(threshold);
    int32_t found = 0;
    for (int32_t first = 0; first < count; first += kAtOnce) {
        uint64_t reached = 0;
        for (int32_t i = 0; i < kAtOnce; i += 16) {
            const __m512 part = _mm512_loadu_ps(sums + first + i);
            reached |= static_cast<uint64_t>(_mm512_cmp_ps_mask(part, least, _CMP_GE_OQ)) << i;
        }
        if (reached) found += write_places(reached, first, sums, places + found, values + found);
        for (int32_t i = 0; i < kAtOnce; i += 16) _mm512_storeu_ps(sums + first + i, _mm512_setzero_ps());
    }
    return found;
}
#endif

struct Chosen {
    const char* name;
    Take take;
};

Chosen choose() {
#ifdef MMSRAREC_X86
    if (__builtin_cpu_supports("avx512f")) return {"avx512f", take_avx512};
    if (__builtin_cpu_supports("avx2")) return {"avx2", take_avx2};
#endif
    return {"plain", take_plain};
}

const Chosen kChosen = choose();

}  // namespace

int32_t take_at_least(float* sums, int32_t count, float threshold, uint16_t* places, float* values) noexcept {
    return kChosen.take(sums, count, threshold, places, values);
}

const char* vector_instructions() noexcept { return kChosen.name; }

}  // namespace mmsrarec
