// Bounds and choices without comparisons, which some processors (AMD's) make in the place of a multiply-add.
#pragma once

#include <Eigen/Core>

#include "vector.hpp"

namespace zeroloss {

namespace detail {

template <class T>
using Packet = typename Eigen::internal::packet_traits<T>::type;

}  // namespace detail

/// min(x, bound); a NaN stays. By Eigen, for GCC makes two instructions of a comparison where one is enough.
template <class T>
[[gnu::always_inline]] inline Vector<T> at_most(Vector<T> x, Vector<T> bound) {
  using detail::Packet;
  static_assert(sizeof(Packet<T>) == sizeof(Vector<T>));
  return (Vector<T>)Eigen::internal::pmin((Packet<T>)x, (Packet<T>)bound);
}

/// max(x, bound); a NaN stays.
template <class T>
[[gnu::always_inline]] inline Vector<T> at_least(Vector<T> x, Vector<T> bound) {
  using detail::Packet;
  static_assert(sizeof(Packet<T>) == sizeof(Vector<T>));
  return (Vector<T>)Eigen::internal::pmax((Packet<T>)x, (Packet<T>)bound);
}

/// `negative` where z has its sign bit set, as the NaN of arithmetic has on x86, and else `other`: the sign, spread
/// over the lane, is the mask.
template <class T>
[[gnu::always_inline]] inline Vector<T> select_by_sign(Vector<T> z, Vector<T> negative, Vector<T> other) {
  using Bits = Vector<LaneInteger<T>>;
  const Bits mask = (Bits)z >> (8 * sizeof(T) - 1);
  return (Vector<T>)(((Bits)negative & mask) | ((Bits)other & ~mask));
}

}  // namespace zeroloss
