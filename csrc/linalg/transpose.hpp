// Transposes of square blocks of registers.
#pragma once

#include <utility>

#include "vector.hpp"

namespace zeroloss {

namespace detail {

/// The source lane of lane j of an unpack, which interleaves the low (or high) halves of a and b inside every 128 bits.
template <class T, bool high>
constexpr int unpack_source(int j) {
  constexpr int part = 16 / sizeof(T);
  const int base = j / part * part + (high ? part / 2 : 0) + j % part / 2;
  return j % 2 == 0 ? base : base + lanes<T>;
}

/// The source lane of lane j of a shuffle that takes the even (or odd) 128-bit parts of a, then of b.
template <class T, bool odd>
constexpr int deal_source(int j) {
  constexpr int part = 16 / sizeof(T), half = lanes<T> / part / 2;
  const int position = j / part;
  const int source = (2 * (position % half) + odd) * part + j % part;
  return position < half ? source : source + lanes<T>;
}

template <class T, bool high, int... j>
[[gnu::always_inline]] inline Vector<T> unpack(Vector<T> a, Vector<T> b, std::integer_sequence<int, j...>) {
  return __builtin_shufflevector(a, b, unpack_source<T, high>(j)...);
}

template <class T, bool odd, int... j>
[[gnu::always_inline]] inline Vector<T> deal(Vector<T> a, Vector<T> b, std::integer_sequence<int, j...>) {
  return __builtin_shufflevector(a, b, deal_source<T, odd>(j)...);
}

}  // namespace detail

/// Transposes the lanes × lanes block v in registers.
template <class T>
[[gnu::always_inline]] inline void transpose(Vector<T>* v) {
  constexpr int L = lanes<T>, part = 16 / sizeof(T), half = L / part / 2;
  constexpr std::make_integer_sequence<int, L> all;
  Vector<T> u[L];
#pragma GCC unroll 4
  for (int size = 1; size < part; size *= 2) {  // squares inside 128 bits
#pragma GCC unroll 16
    for (int r = 0; r < L; ++r) {
      const int source = r / part * part + r % part / 2;
      u[r] = r % 2 == 0 ? detail::unpack<T, false>(v[source], v[source + part / 2], all)
                        : detail::unpack<T, true>(v[source], v[source + part / 2], all);
    }
#pragma GCC unroll 16
    for (int r = 0; r < L; ++r) v[r] = u[r];
  }
  if constexpr (half > 0)
#pragma GCC unroll 4
    for (int size = 1; size <= half; size *= 2) {  // squares of 128-bit parts
#pragma GCC unroll 16
      for (int r = 0; r < L; ++r) {
        const int to = r / part, source = to % half * 2 * part + r % part;
        u[r] = to < half ? detail::deal<T, false>(v[source], v[source + part], all)
                         : detail::deal<T, true>(v[source], v[source + part], all);
      }
#pragma GCC unroll 16
      for (int r = 0; r < L; ++r) v[r] = u[r];
    }
}

}  // namespace zeroloss
