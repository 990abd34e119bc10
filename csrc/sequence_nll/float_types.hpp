// 16-bit floats as float32. Functions of this file alone, also where it is compiled for instructions that a
// machine may lack (see stretch.hpp), so they stay in an unnamed namespace.
#pragma once

#include <cstdint>

#include "sequence_nll/token_nll.hpp"

namespace mmsrarec {
namespace {

inline float number(uint16_t bits, Float type) {
    uint32_t wide;
    if (type == Float::kBfloat16) {
        wide = static_cast<uint32_t>(bits) << 16;
    } else {
        // Exponent and fraction move to their places; the factor 2¹¹² corrects the exponent's bias, denormals
        // too.
        wide = static_cast<uint32_t>(bits & 0x7fff) << 13;
        float scaled;
        __builtin_memcpy(&scaled, &wide, 4);
        scaled *= 0x1p112f;
        __builtin_memcpy(&wide, &scaled, 4);
        if ((bits & 0x7c00) == 0x7c00) wide |= 0x7f800000;
        wide |= static_cast<uint32_t>(bits & 0x8000) << 16;
    }
    float result;
    __builtin_memcpy(&result, &wide, 4);
    return result;
}

}  // namespace
}  // namespace mmsrarec
