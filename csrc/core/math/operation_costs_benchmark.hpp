// Measures what operations on registers cost one core at this instruction-set level. The benchmarks multiply the costs
// with counts of operations (bench/operation_counts.py).
#pragma once

#include <utility>

#include "../../linalg/select.hpp"
#include "fma_peak_benchmark.hpp"

namespace zeroloss {

/// Seconds for an operation on a register. A load or a store is in the L1 cache. `simple` (a minimum) and `permute` (of
/// two registers) are the time by which such an operation extends multiply-adds next to it. It is less than its own
/// time if other units of the processor perform it.
struct OperationCosts {
  double multiply_add, simple, permute, load, store;
};

namespace detail {

enum class Neighbour { none, minimum, permute };

/// A permute of two registers: lanes of the other half of a and b in turn.
template <class T, int... j>
[[gnu::always_inline]] inline Vector<T> permute_pair(Vector<T> a, Vector<T> b, std::integer_sequence<int, j...>) {
  return __builtin_shufflevector(a, b, (j % 2 * lanes<T> + (j + lanes<T> / 2) % lanes<T>)...);
}

inline constexpr int mixed_chains = register_count == 32 ? 16 : 8, neighbours = mixed_chains / 2;

/// Performs multiply-adds in independent registers, and in each round half as many other operations. Returns a sum of
/// everything, so that the compiler cannot remove them.
template <class T, Neighbour neighbour>
[[gnu::noipa, gnu::noinline]] T mixed_operations(T a, T b, long rounds) {
  const Vector<T> factor = broadcast(a), term = broadcast(b);
  Vector<T> v[mixed_chains], w[neighbours];
#pragma GCC unroll 32
  for (int c = 0; c < mixed_chains; ++c) v[c] = w[c / 2] = broadcast(static_cast<T>(c));
  for (long round = 0; round < rounds; ++round) {
#pragma GCC unroll 32
    for (int c = 0; c < mixed_chains; ++c) {
      v[c] = factor * v[c] + term;
      if (c % 2 != 0) continue;
      if constexpr (neighbour == Neighbour::minimum) w[c / 2] = at_most<T>(w[c / 2], v[c]);
      if constexpr (neighbour == Neighbour::permute)
        w[c / 2] = permute_pair<T>(w[c / 2], v[c], std::make_integer_sequence<int, lanes<T>>{});
    }
  }
  T sum = 0;
  for (int c = 0; c < mixed_chains; ++c) sum += v[c][0] + w[c / 2][0];
  return sum;
}

inline constexpr int accesses = 16;

template <class T>
[[gnu::noipa, gnu::noinline]] void load_repeatedly(const T* source, long rounds) {
  for (long round = 0; round < rounds; ++round) {
#pragma GCC unroll 16
    for (int i = 0; i < accesses; ++i) static_cast<void>(load_once(source + i * lanes<T>));
  }
}

template <class T>
[[gnu::noipa, gnu::noinline]] void store_repeatedly(T* output, T value, long rounds) {
  typedef Vector<T> Aliasing __attribute__((may_alias));
  const Vector<T> v = broadcast(value);
  for (long round = 0; round < rounds; ++round) {
#pragma GCC unroll 16
    for (int i = 0; i < accesses; ++i) *reinterpret_cast<volatile Aliasing*>(output + i * lanes<T>) = v;
  }
}

}  // namespace detail

/// Measures the costs. Each is the best of the short blocks (less than 0.1 ms) that fit in a fifth of `seconds`, and of
/// ten at least, so other work on the core has little effect.
template <class T>
OperationCosts operation_costs(double seconds) {
  using detail::Neighbour;
  using Clock = std::chrono::steady_clock;
  constexpr long rounds = 20'000;
  [[maybe_unused]] volatile T sink;
  alignas(64) T memory[detail::accesses * lanes<T>] = {};
  const auto best_time = [seconds](const auto& run) {
    double best = std::numeric_limits<double>::infinity();
    const auto begin = Clock::now();
    auto now = begin;
    for (int block = 0; block < 10 || std::chrono::duration<double>(now - begin).count() < seconds / 5; ++block) {
      const auto before = now;
      run();
      now = Clock::now();
      best = std::min(best, std::chrono::duration<double>(now - before).count());
    }
    return best / rounds;
  };
  const auto mixed = [&]<Neighbour neighbour>(std::integral_constant<Neighbour, neighbour>) {
    return best_time([&] { sink = detail::mixed_operations<T, neighbour>(T(0.5), T(1), rounds); });
  };
  const double alone = mixed(std::integral_constant<Neighbour, Neighbour::none>{});
  const auto added = [=](double time) { return std::max(0.0, time - alone) / detail::neighbours; };
  return {alone / detail::mixed_chains, added(mixed(std::integral_constant<Neighbour, Neighbour::minimum>{})),
          added(mixed(std::integral_constant<Neighbour, Neighbour::permute>{})),
          best_time([&] { detail::load_repeatedly(memory, rounds); }) / detail::accesses,
          best_time([&] { detail::store_repeatedly(memory, T(1), rounds); }) / detail::accesses};
}

}  // namespace zeroloss
