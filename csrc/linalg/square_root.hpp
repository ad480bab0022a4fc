// Square roots of registers.
#pragma once

#include <cmath>

#include "vector.hpp"

namespace zeroloss {

/// √x, one instruction if the compiler may ignore errno (-fno-math-errno): it vectorises the loop.
template <class T>
[[gnu::always_inline]] inline Vector<T> square_root(Vector<T> x) {
  T lane[lanes<T>];
  store(lane, x);
  for (int i = 0; i < lanes<T>; ++i) lane[i] = std::sqrt(lane[i]);
  return load(lane);
}

}  // namespace zeroloss
