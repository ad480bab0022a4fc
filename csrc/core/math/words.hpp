// The bits of floating-point numbers: sign, biased exponent, mantissa.
#pragma once

#include <bit>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "../../linalg/vector.hpp"

namespace zeroloss {

template <class T>
using Word = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
template <class T>
inline constexpr int mantissa_bits = std::numeric_limits<T>::digits - 1;
template <class T>
inline constexpr Word<T> sign_word = std::bit_cast<Word<T>>(-T(0));

template <class T>
[[gnu::always_inline]] inline Vector<Word<T>> to_word(Vector<T> x) {
  return reinterpret_cast<Vector<Word<T>>>(x);
}

template <class T>
[[gnu::always_inline]] inline Vector<T> from_word(Vector<Word<T>> word) {
  return reinterpret_cast<Vector<T>>(word);
}

template <class T>
[[gnu::always_inline]] inline Vector<T> magnitude(Vector<T> x) {
  return from_word<T>(to_word<T>(x) & ~sign_word<T>);
}

/// |x| with the sign of y.
template <class T>
[[gnu::always_inline]] inline Vector<T> with_sign(Vector<T> x, Vector<T> y) {
  return from_word<T>((to_word<T>(x) & ~sign_word<T>) | (to_word<T>(y) & sign_word<T>));
}

}  // namespace zeroloss
