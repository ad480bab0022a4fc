// Vectors as wide as the registers of the instruction-set level that the file is compiled for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "index.hpp"

namespace zeroloss {

#if defined(__AVX512F__)
inline constexpr std::size_t register_bytes = 64;
inline constexpr int register_count = 32;
#elif defined(__AVX__)
inline constexpr std::size_t register_bytes = 32;
inline constexpr int register_count = 16;
#elif defined(__aarch64__)
inline constexpr std::size_t register_bytes = 16;
inline constexpr int register_count = 32;
#else
inline constexpr std::size_t register_bytes = 16;
inline constexpr int register_count = 16;
#endif

template <class T>
struct VectorType {
  typedef T type __attribute__((vector_size(register_bytes)));
  typedef T half __attribute__((vector_size(register_bytes / 2)));
};

/// A register of T. Arithmetic is elementwise; comparisons give masks of 0 and -1.
template <class T>
using Vector = typename VectorType<T>::type;

/// Half a register.
template <class T>
using HalfVector = typename VectorType<T>::half;

template <class T>
inline constexpr int lanes = static_cast<int>(register_bytes / sizeof(T));

template <class T>
[[gnu::always_inline]] inline Vector<T> broadcast(T value) {
  return value - Vector<T>{};  // "value + {}" would keep the addition, for the sign of zero
}

template <class T, class V = Vector<T>>
[[gnu::always_inline]] inline V load(const T* source) {
  V v;
  std::memcpy(&v, source, sizeof v);
  return v;
}

/// Loads a register exactly once. If two multiply-adds share an operand, GCC may load it for each of them, and a
/// processor makes no more loads than multiply-adds in a cycle.
template <class T>
[[gnu::always_inline]] inline Vector<T> load_once(const T* source) {
  typedef Vector<T> Aliasing __attribute__((may_alias));
  return *reinterpret_cast<const volatile Aliasing*>(source);
}

/// The first lanes, as many as a V has: all or half of them.
template <class V, class W>
[[gnu::always_inline]] inline V first_lanes(W v) {
  V first;
  std::memcpy(&first, &v, sizeof first);
  return first;
}

/// The integer as wide as a T.
template <class T>
using LaneInteger = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;

/// Copies *source to all lanes, as an integer. On AMD's Zen 4, the load unit broadcasts integers, but floats take the
/// place of a permute.
template <class T>
[[gnu::always_inline]] inline Vector<T> broadcast_from(const T* source) {
  LaneInteger<T> bits;
  std::memcpy(&bits, source, sizeof bits);
  return (Vector<T>)(bits - Vector<LaneInteger<T>>{});
}

template <class T>
[[gnu::always_inline]] inline void store(T* output, Vector<T> v) {
  std::memcpy(output, &v, sizeof v);
}

template <class T>
[[gnu::always_inline]] inline void store(T* output, HalfVector<T> v) {
  std::memcpy(output, &v, sizeof v);
}

}  // namespace zeroloss
