// Norm constraints of a descent: after a step, θ is scaled to a target norm. The norm is fixed (hold), bounded from
// above (cap) or set once (rescale). Python entry: norm_constraint of python/zeroloss/dynamics/gradient_descent.py.
// Test: tests/test_norm_constraint.py.
#pragma once

#include <cmath>

#include "layer_strips.hpp"

namespace zeroloss {

/// θ ← (1 + share) θ. Only the change is rounded. A compensation, if there is one, records the rounding as in a step.
template <class T>
void grow(T share, Index count, T* __restrict theta, T* __restrict compensation) {
  if (!compensation) {
    for (Index i = 0; i < count; ++i) theta[i] += share * theta[i];
    return;
  }
  for (Index i = 0; i < count; ++i) {
    const T change = share * (theta[i] - compensation[i]) - compensation[i], sum = theta[i] + change;
    compensation[i] = (sum - theta[i]) - change;
    theta[i] = sum;
  }
}

/// θ ← factor · θ, for factors so small that adding the change would cancel digits.
template <class T>
void shrink(T factor, Index count, T* __restrict theta, T* __restrict compensation) {
  for (Index i = 0; i < count; ++i) theta[i] *= factor;
  for (Index i = 0; compensation && i < count; ++i) compensation[i] *= factor;
}

/// A constraint on ‖E‖, ‖W‖ or, with both layers, ‖θ‖ = √(‖E‖² + ‖W‖²). Each layer includes its biases. The reference
/// is the norm of θ_step; the target is `ratio` times the reference.
struct NormControl {
  enum class Kind { none, hold, cap, rescale };

  Kind kind = Kind::none;
  bool E = false, W = false;
  double ratio = 1;
  Index step = 0;

  /// Whether the reference is the norm of θ_t.
  bool is_reference_step(Index t) const { return kind != Kind::none && t == step; }
  /// Whether θ_{t+1} is scaled to the target.
  bool applies_at(Index t) const { return kind == Kind::rescale ? t == step : kind != Kind::none && t >= step; }

  template <class T>
  double norm(const LayerStrips<T>& theta) const {
    const double E_norm = E ? theta.norm_E() : 0, W_norm = W ? theta.norm_W() : 0;
    const double biases = (E ? theta.squares_of_hidden_biases() : 0) + (W ? theta.squares_of_output_biases() : 0);
    return std::sqrt(E_norm * E_norm + W_norm * W_norm + biases);
  }

  /// Scales θ to the target, by the share (target − norm)/norm or the factor target/norm. Returns whether E has
  /// changed. A norm of 0 stays, because it has no direction to grow in. One thread does all of it, so the bits do not
  /// depend on the number of threads.
  template <class T>
  bool apply(double reference, LayerStrips<T>& theta, LayerStrips<T>& compensation) const {
    const double current = norm(theta), target = ratio * reference;
    if (current == 0 || (kind == Kind::cap && current <= target)) return false;
    const bool shrinks = std::isfinite(current) && target < current / 2;  // an infinite norm stays visible
    const auto scale_layer = shrinks ? shrink<T> : grow<T>;
    const T amount = static_cast<T>(shrinks ? target / current : (target - current) / current);
    if (E) scale_layer(amount, theta.size_E(), theta.E(0), compensation.E(0));
    if (W) scale_layer(amount, theta.size_W(), theta.W(0), compensation.W(0));
    if (W && theta.size_c() > 0) scale_layer(amount, theta.size_c(), theta.c(), compensation.c());
    return E;
  }
};

}  // namespace zeroloss
