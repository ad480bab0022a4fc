// Cross-entropy of softmax outputs, without overflow and without cancellation: if a sample's probability is 1 − ε, loss
// and gradient have the digits of ε. Test: tests/test_cross_entropy_and_adamw.py.
#pragma once

#include "../../linalg/strips.hpp"
#include "../math/log1p.hpp"
#include "../types.hpp"

namespace zeroloss {

/// For one strip of samples, [output][lanes]: F becomes c (p Σ_j y_j − y), p = softmax(F), and losses gets Σ_k y_k
/// (log Σ_j e^{F_j} − F_k). With e_k = e^{F_k − max F} and the sum S = 1 + s, log S = log1p(s), and 1 − p_k = (S −
/// e_k)/S, which is s/S at the maximum. It is one piece of machine code: the bits do not depend on the caller.
template <class T>
[[gnu::noipa, gnu::noinline]] void cross_entropy(Index d_out, T c, const T* minus_Y, T* F, T* losses) {
  constexpr int L = lanes<T>;
  const Vector<T> zero{}, one = broadcast(T(1));
  Vector<T> largest = load(F);
  for (Index k = 1; k < d_out; ++k) largest = load(F + k * L) > largest ? load(F + k * L) : largest;
  Vector<T> others{}, equals{}, minus_targets{}, distance{};
  for (Index k = 0; k < d_out; ++k) {
    const Vector<T> below = load(F + k * L) - largest, minus_y = load(minus_Y + k * L);
    const Vector<T> e = below < Constants<T>::exp_zero ? zero : exponential<T>(below).scaled() * unscale<T>;
    others += e == T(1) ? zero : e;
    equals += e == T(1) ? one : zero;
    minus_targets += minus_y;
    distance += minus_y == T(0) ? zero : minus_y * below;  // 0 · ∞ does not count
    store(F + k * L, e);
  }
  const Vector<T> s = others + (equals - T(1)), inverse = T(1) / (T(1) + s);
  for (Index k = 0; k < d_out; ++k) {
    const Vector<T> e = load(F + k * L), minus_y = load(minus_Y + k * L);
    const Vector<T> rest = e == T(1) ? s : T(1) + s - e;
    store(F + k * L, c * inverse * (minus_y * rest - e * (minus_targets - minus_y)));
  }
  store(losses, distance - minus_targets * log1p<T>(s));
}

/// The same for all samples, with the outputs F/T at a temperature T: replaces F (n × d_out) by G = (c/T) (p Σ_j y_j −
/// y) and returns c times the sum of the losses.
template <class T>
double cross_entropy(const Matrix<T>& Y, double c, double temperature, Matrix<T>& F) {
  constexpr Index L = lanes<T>;
  const Index n = Y.rows(), d_out = Y.cols();
  if (d_out == 0) return 0;
  F *= static_cast<T>(1 / temperature);
  Buffer<T> outputs(strip_count<T>(n) * d_out * L), minus_Y(d_out * L), losses(L);
  columns_to_strips(F.data(), n, d_out, outputs.data());
  double sum = 0;
  for (Index first = 0; first < n; first += L) {
    const Index used = std::min(L, n - first);
    const Matrix<T> targets = -Y.middleRows(first, used);
    columns_to_strips(targets.data(), used, d_out, minus_Y.data());
    cross_entropy(d_out, static_cast<T>(c / temperature), minus_Y.data(), outputs.data() + first * d_out,
                  losses.data());
    for (Index i = 0; i < used; ++i) sum += static_cast<double>(losses.data()[i]);
  }
  columns_from_strips(outputs.data(), n, d_out, F.data());
  return c * sum;
}

}  // namespace zeroloss
