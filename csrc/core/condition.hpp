// An estimate of the 2-norm condition number of a symmetric positive definite matrix.
#pragma once

#include <cmath>

#include "types.hpp"

namespace zeroloss {

/// λ_max / λ_min by power iteration with `multiply` and `solve` (each replaces its vector), from a fixed start.
/// Both ends are approached from inside: the estimate is a lower bound, close after a few iterations.
template <class T, class Multiply, class Solve>
double condition_estimate(Index size, Multiply&& multiply, Solve&& solve) {
  constexpr int iterations = 16;
  const auto largest = [&](auto&& apply) {
    Eigen::Matrix<T, Eigen::Dynamic, 1> v(size);
    for (Index i = 0; i < size; ++i)
      v[i] = static_cast<T>(i % 2 == 0 ? 1 : -1) + static_cast<T>(i) / static_cast<T>(size);
    double growth = 0;
    for (int iteration = 0; iteration < iterations; ++iteration) {
      v /= v.norm();
      apply(v);
      growth = static_cast<double>(v.norm());
    }
    return growth;
  };
  return largest(multiply) * largest(solve);
}

}  // namespace zeroloss
