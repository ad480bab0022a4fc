// How a parameter takes its step, given its gradient.
#pragma once

#include <cmath>

#include "../../linalg/vector.hpp"

namespace zeroloss {

enum class Rule { sgd, adamw };

/// The settings of torch.optim.SGD or torch.optim.AdamW, with a weight decay for each layer.
struct Optimizer {
  Rule rule;
  double lr;
  double weight_decay_E, weight_decay_W;
  double momentum;             // μ of sgd, β₁ of adamw
  double second_momentum = 0;  // β₂
  double epsilon = 0;          // ε
  bool compensated = false;    // sgd only: whether the rounding of θ is carried along

  bool has_velocity() const { return rule == Rule::adamw || momentum != 0; }
  bool has_squares() const { return rule == Rule::adamw; }
  bool is_plain() const { return !has_velocity() && !compensated; }
};

/// baseᵗ by squares: libm's pow chooses its code by processor.
inline double power(double base, Index t) {
  double result = 1;
  for (; t > 0; t /= 2, base *= base)
    if (t % 2 == 1) result *= base;
  return result;
}

/// One layer's step number t ≥ 1 at the rate lr.
template <class T>
struct Step {
  T lr, weight_decay, momentum;
  T second_momentum, epsilon, first_correction, second_correction;  // 1/(1 − β₁ᵗ), 1/√(1 − β₂ᵗ)

  Step(const Optimizer& optimizer, double rate, double decay, Index t)
      : lr(static_cast<T>(rate)),
        weight_decay(static_cast<T>(decay)),
        momentum(static_cast<T>(optimizer.momentum)),
        second_momentum(static_cast<T>(optimizer.second_momentum)),
        epsilon(static_cast<T>(optimizer.epsilon)),
        first_correction(1),
        second_correction(1) {
    if (optimizer.rule != Rule::adamw) return;
    first_correction = static_cast<T>(1 / (1 - power(optimizer.momentum, t)));
    second_correction = static_cast<T>(1 / std::sqrt(1 - power(optimizer.second_momentum, t)));
  }

  /// θ ← θ − lr (∇ + wd θ): the plain step, of a register.
  [[gnu::always_inline]] Vector<T> operator()(Vector<T> theta, Vector<T> gradient) const {
    return theta - broadcast(lr) * (gradient + broadcast(weight_decay) * theta);
  }
};

/// What belongs to each of a layer's parameters besides its value; null where there is none.
template <class T>
struct OptimizerArrays {
  T* velocity;      // v of sgd with momentum, m of adamw
  T* compensation;  // what rounding added to θ so far
  T* squares;       // v of adamw
};

namespace detail {

/// v ← μ v + ∇ + wd θ,  θ ← θ − lr v.
template <class T>
void momentum_step(const Step<T> step, Index count, T* __restrict theta, const T* __restrict gradient,
                   T* __restrict velocity) {
  for (Index i = 0; i < count; ++i) {
    velocity[i] = gradient[i] + step.weight_decay * theta[i] + step.momentum * velocity[i];
    theta[i] -= step.lr * velocity[i];
  }
}

/// The same with Kahan's sum: θ − c is what exact additions would have made, so that steps far below the rounding unit
/// of θ add up.
template <bool momentum, class T>
void compensated_step(const Step<T> step, Index count, T* __restrict theta, const T* __restrict gradient,
                      T* __restrict velocity, T* __restrict compensation) {
  for (Index i = 0; i < count; ++i) {
    T g = gradient[i] + step.weight_decay * theta[i];
    if constexpr (momentum) g = velocity[i] = g + step.momentum * velocity[i];
    const T change = -step.lr * g - compensation[i], sum = theta[i] + change;
    compensation[i] = (sum - theta[i]) - change;
    theta[i] = sum;
  }
}

/// θ ← (1 − lr wd) θ,  m ← m + (1 − β₁)(∇ − m),  v ← β₂ v + (1 − β₂) ∇²,
/// θ ← θ − lr m/(1 − β₁ᵗ) / (√v/√(1 − β₂ᵗ) + ε).
template <class T>
void adamw_step(const Step<T> step, Index count, T* __restrict theta, const T* __restrict gradient, T* __restrict m,
                T* __restrict v) {
  for (Index i = 0; i < count; ++i) {
    m[i] += (1 - step.momentum) * (gradient[i] - m[i]);
    v[i] = step.second_momentum * v[i] + (1 - step.second_momentum) * gradient[i] * gradient[i];
    theta[i] = (1 - step.lr * step.weight_decay) * theta[i] -
               step.lr * step.first_correction * m[i] / (std::sqrt(v[i]) * step.second_correction + step.epsilon);
  }
}

}  // namespace detail

/// The step of `count` parameters by any rule but the plain one.
template <class T>
void take_step(const Step<T>& step, Index count, T* theta, const T* gradient, const OptimizerArrays<T>& state) {
  if (state.squares)
    detail::adamw_step(step, count, theta, gradient, state.velocity, state.squares);
  else if (state.compensation && state.velocity)
    detail::compensated_step<true>(step, count, theta, gradient, state.velocity, state.compensation);
  else if (state.compensation)
    detail::compensated_step<false>(step, count, theta, gradient, state.velocity, state.compensation);
  else
    detail::momentum_step(step, count, theta, gradient, state.velocity);
}

}  // namespace zeroloss
