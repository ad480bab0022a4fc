// Permutes of registers by an index that is known at run time. They are defined only for AVX-512, where each is one
// instruction. Code for other levels does not call them.
#pragma once

#include "vector.hpp"

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace zeroloss {

/// Lane i is lane index[i] of v; the index counts modulo the register.
Vector<float> permute(Vector<float> v, Vector<std::int32_t> index);

/// Lane i is lane index[i] of low, continued by high; the index counts modulo both.
Vector<float> permute(Vector<float> low, Vector<float> high, Vector<std::int32_t> index);
Vector<double> permute(Vector<double> low, Vector<double> high, Vector<std::int64_t> index);

#if defined(__AVX512F__)
[[gnu::always_inline]] inline Vector<float> permute(Vector<float> v, Vector<std::int32_t> index) {
  return _mm512_permutexvar_ps((__m512i)index, v);
}

[[gnu::always_inline]] inline Vector<float> permute(Vector<float> low, Vector<float> high, Vector<std::int32_t> index) {
  return _mm512_permutex2var_ps(low, (__m512i)index, high);
}

[[gnu::always_inline]] inline Vector<double> permute(Vector<double> low, Vector<double> high,
                                                     Vector<std::int64_t> index) {
  return _mm512_permutex2var_pd(low, (__m512i)index, high);
}
#endif

}  // namespace zeroloss
