// The update of the parameters from their gradients: gradient descent with weight decay (Eq. 13), momentum and
// compensated sums, and AdamW.
#pragma once

#include <cmath>
#include <optional>

#include "../../linalg/square_root.hpp"

namespace zeroloss {

enum class Rule { sgd, adamw };

/// The settings of torch.optim.SGD or torch.optim.AdamW, with a weight decay for each layer.
struct Optimizer {
  Rule rule;
  double lr;
  double weight_decay_E, weight_decay_W;
  double momentum;                        // μ of sgd, β₁ of adamw
  double second_momentum = 0;             // β₂
  double epsilon = 0;                     // ε
  bool compensated = false;               // sgd only: whether the rounding errors of θ are recorded and compensated
  std::optional<double> lr_W = {};        // the learning rate of W, if it has its own
  bool trains_E = true, trains_W = true;  // a layer that is not trained keeps its values
  bool decay_biases = true;               // whether biases decay as their layer does

  bool has_velocity() const { return rule == Rule::adamw || momentum != 0; }
  bool has_squares() const { return rule == Rule::adamw; }
  bool is_plain() const { return !has_velocity() && !compensated && trains_E && trains_W; }
  /// The rate of W in a step whose rate for E is `rate`. A schedule scales both.
  double rate_W(double rate) const { return lr_W ? rate / lr * *lr_W : rate; }
};

/// baseᵗ by repeated squaring. libm's pow chooses its code by processor, so its bits could differ.
inline double power(double base, Index t) {
  double result = 1;
  for (; t > 0; t /= 2, base *= base)
    if (t % 2 == 1) result *= base;
  return result;
}

/// 1/(1 − β₁ᵗ) and 1/√(1 − β₂ᵗ) of adamw, with which the moments of step t ≥ 1 are multiplied.
struct Corrections {
  double first = 1, second = 1;

  Corrections(const Optimizer& optimizer, Index t) {
    if (optimizer.rule != Rule::adamw) return;
    first = 1 / (1 - power(optimizer.momentum, t));
    second = 1 / std::sqrt(1 - power(optimizer.second_momentum, t));
  }
};

/// A step of one layer at the rate lr.
template <class T>
struct Step {
  T lr, weight_decay, momentum;
  T second_momentum, epsilon, first_correction, second_correction;

  Step(const Optimizer& optimizer, double rate, double decay, const Corrections& corrections)
      : lr(static_cast<T>(rate)),
        weight_decay(static_cast<T>(decay)),
        momentum(static_cast<T>(optimizer.momentum)),
        second_momentum(static_cast<T>(optimizer.second_momentum)),
        epsilon(static_cast<T>(optimizer.epsilon)),
        first_correction(static_cast<T>(corrections.first)),
        second_correction(static_cast<T>(corrections.second)) {}

  /// The plain step for one register: θ ← θ − lr (∇ + wd θ) (Eq. 13).
  [[gnu::always_inline]] Vector<T> operator()(Vector<T> theta, Vector<T> gradient) const {
    return theta - broadcast(lr) * (gradient + broadcast(weight_decay) * theta);
  }
};

/// The steps of the parts of θ in step number t ≥ 1.
template <class T>
struct Steps {
  const Corrections corrections;
  Step<T> E, W, b, c;

  Steps(const Optimizer& o, double rate, Index t)
      : corrections(o, t),
        E(o, rate, o.weight_decay_E, corrections),
        W(o, o.rate_W(rate), o.weight_decay_W, corrections),
        b(o, rate, o.decay_biases ? o.weight_decay_E : 0, corrections),
        c(o, o.rate_W(rate), o.decay_biases ? o.weight_decay_W : 0, corrections) {}
};

/// The optimizer's arrays for one layer, with its shape; null if the rule does not use them.
template <class T>
struct OptimizerArrays {
  T* velocity;      // v of sgd with momentum, m of adamw
  T* compensation;  // the sum of the rounding errors of θ
  T* squares;       // v of adamw
};

namespace detail {

/// θ ← θ − lr (∇ + wd θ), for one layer while the other one is frozen.
template <class T>
void plain_step(const Step<T> step, Index count, T* __restrict theta, const T* __restrict gradient) {
  for (Index i = 0; i < count; i += lanes<T>) store(theta + i, step(load(theta + i), load(gradient + i)));
}

/// v ← μ v + ∇ + wd θ,  θ ← θ − lr v.
template <class T>
void momentum_step(const Step<T> step, Index count, T* __restrict theta, const T* __restrict gradient,
                   T* __restrict velocity) {
  for (Index i = 0; i < count; ++i) {
    velocity[i] = gradient[i] + step.weight_decay * theta[i] + step.momentum * velocity[i];
    theta[i] -= step.lr * velocity[i];
  }
}

/// The same with Kahan's summation. θ − compensation is the value that exact additions would give, so steps far below
/// the rounding unit of θ add up.
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
  const Vector<T> decay = broadcast(1 - step.lr * step.weight_decay), rate = broadcast(step.lr * step.first_correction);
  const Vector<T> first_rest = broadcast(1 - step.momentum), second_rest = broadcast(1 - step.second_momentum);
  const Vector<T> beta = broadcast(step.second_momentum), correction = broadcast(step.second_correction);
  const Vector<T> epsilon = broadcast(step.epsilon);
  for (Index i = 0; i < count; i += lanes<T>) {
    const Vector<T> g = load(gradient + i);
    const Vector<T> mean = load(m + i) + first_rest * (g - load(m + i));
    const Vector<T> square = beta * load(v + i) + second_rest * g * g;
    store(m + i, mean);
    store(v + i, square);
    store(theta + i, decay * load(theta + i) - rate * mean / (square_root<T>(square) * correction + epsilon));
  }
}

}  // namespace detail

/// Takes the step of `count` parameters, whole registers.
template <class T>
void take_step(const Step<T>& step, Index count, T* theta, const T* gradient, const OptimizerArrays<T>& state) {
  if (state.squares)
    detail::adamw_step(step, count, theta, gradient, state.velocity, state.squares);
  else if (state.compensation && state.velocity)
    detail::compensated_step<true>(step, count, theta, gradient, state.velocity, state.compensation);
  else if (state.compensation)
    detail::compensated_step<false>(step, count, theta, gradient, state.velocity, state.compensation);
  else if (state.velocity)
    detail::momentum_step(step, count, theta, gradient, state.velocity);
  else
    detail::plain_step(step, count, theta, gradient);
}

}  // namespace zeroloss
