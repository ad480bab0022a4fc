// Measures the multiply-add peak of one core at this instruction-set level. The benchmarks (bench/) compare with it.
#pragma once

#include <algorithm>
#include <chrono>

#include "../../linalg/vector.hpp"

namespace zeroloss {

/// Performs `rounds` multiply-adds v ← a v + b in each of `chains` independent registers. Returns their sum, so that
/// the compiler cannot remove them. The chains start with different values, so it cannot merge them. a and b are
/// arguments, so it cannot compute the result.
template <class T, int chains>
[[gnu::noipa, gnu::noinline]] T multiply_add_chains(T a, T b, long rounds) {
  const Vector<T> factor = broadcast(a), term = broadcast(b);
  Vector<T> v[chains];
#pragma GCC unroll 32
  for (int c = 0; c < chains; ++c) v[c] = broadcast(static_cast<T>(c));
  for (long round = 0; round < rounds; ++round) {
#pragma GCC unroll 32
    for (int c = 0; c < chains; ++c) v[c] = factor * v[c] + term;
  }
  T sum = 0;
  for (int c = 0; c < chains; ++c) sum += v[c][0];
  return sum;
}

/// Returns floating-point operations per second; a multiply-add counts as two. It is the best of the short blocks
/// (about 0.1 ms) that fit in `seconds`, so other work on the core has little effect. Without fused multiply-add
/// (baseline x86-64) it is the peak of multiplications and additions.
template <class T>
double fma_peak(double seconds) {
  using Clock = std::chrono::steady_clock;
  constexpr int chains = register_count == 32 ? 24 : 12;  // the latency of 4 cycles times 2 a cycle needs 8
  constexpr long rounds = 20'000;
  constexpr double operations = 2.0 * chains * lanes<T> * rounds;
  [[maybe_unused]] volatile T sink;
  double best = 0;
  const auto begin = Clock::now();
  for (auto now = begin; best == 0 || std::chrono::duration<double>(now - begin).count() < seconds;) {
    const auto before = now;
    sink = multiply_add_chains<T, chains>(T(0.5), T(1), rounds);
    now = Clock::now();
    best = std::max(best, operations / std::chrono::duration<double>(now - before).count());
  }
  return best;
}

}  // namespace zeroloss
