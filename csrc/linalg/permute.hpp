// Permutes of registers by an index that is known at run time, of AVX-512: one instruction.
#pragma once

#include "vector.hpp"

#if defined(__AVX512F__)
#include <immintrin.h>

namespace zeroloss {

/// Lane i is lane index[i] of v; the index counts modulo the register.
[[gnu::always_inline]] inline Vector<float> permute(Vector<float> v, Vector<std::int32_t> index) {
  return _mm512_permutexvar_ps((__m512i)index, v);
}

/// Lane i is lane index[i] of low, continued by high; the index counts modulo both.
[[gnu::always_inline]] inline Vector<float> permute(Vector<float> low, Vector<float> high, Vector<std::int32_t> index) {
  return _mm512_permutex2var_ps(low, (__m512i)index, high);
}

}  // namespace zeroloss
#endif
