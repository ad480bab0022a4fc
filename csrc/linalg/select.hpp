// Bounds and selections without comparisons. On some processors (AMD's) a comparison takes the place of a multiply-add.
#pragma once

#include <Eigen/Core>

#include "vector.hpp"

namespace zeroloss {

namespace detail {

template <class T>
using Packet = typename Eigen::internal::packet_traits<T>::type;

}  // namespace detail

/// min(x, bound). A NaN stays a NaN. It uses Eigen's function, because GCC compiles a comparison into two instructions.
template <class T>
[[gnu::always_inline]] inline Vector<T> at_most(Vector<T> x, Vector<T> bound) {
  using detail::Packet;
  static_assert(sizeof(Packet<T>) == sizeof(Vector<T>));
  return (Vector<T>)Eigen::internal::pmin((Packet<T>)x, (Packet<T>)bound);
}

/// max(x, bound). A NaN stays a NaN.
template <class T>
[[gnu::always_inline]] inline Vector<T> at_least(Vector<T> x, Vector<T> bound) {
  using detail::Packet;
  static_assert(sizeof(Packet<T>) == sizeof(Vector<T>));
  return (Vector<T>)Eigen::internal::pmax((Packet<T>)x, (Packet<T>)bound);
}

/// Returns `negative` in the lanes in which the sign bit of z is set, and `other` in the others. The sign, copied to
/// all bits of the lane, is the mask. (On x86, NaN from arithmetic has its sign bit set.)
template <class T>
[[gnu::always_inline]] inline Vector<T> select_by_sign(Vector<T> z, Vector<T> negative, Vector<T> other) {
  using Bits = Vector<LaneInteger<T>>;
  const Bits mask = (Bits)z >> (8 * sizeof(T) - 1);
  return (Vector<T>)(((Bits)negative & mask) | ((Bits)other & ~mask));
}

}  // namespace zeroloss
