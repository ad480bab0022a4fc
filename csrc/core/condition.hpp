// An estimate of the 2-norm condition number of a symmetric positive definite matrix.
#pragma once

#include "types.hpp"

namespace zeroloss {

/// λ_max / λ_min by power iteration with `multiply` and `solve`, each of which replaces a vector of `size` entries,
/// from a fixed start. Both ends are approached from inside: the estimate is a lower bound, close after a few rounds.
template <class T, class Multiply, class Solve>
double condition_estimate(Index size, const Multiply& multiply, const Solve& solve) {
  constexpr int rounds = 16;
  const auto largest_growth = [size](const auto& apply) {
    Eigen::Matrix<T, Eigen::Dynamic, 1> v(size);
    for (Index i = 0; i < size; ++i) v[i] = static_cast<T>(i % 2 == 0 ? 1 : -1) + static_cast<T>(i) / static_cast<T>(size);
    double growth = 0;
    for (int round = 0; round < rounds; ++round) {
      v /= v.norm();
      apply(v.data());
      growth = static_cast<double>(v.norm());
    }
    return growth;
  };
  return largest_growth(multiply) * largest_growth(solve);
}

}  // namespace zeroloss
