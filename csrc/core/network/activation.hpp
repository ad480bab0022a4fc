// The activations: H = σ(Z), S = σ'(Z) and S₂ = σ''(Z), elementwise, for arrays of any shape. Python entry:
// `activation` of python/zeroloss/networks/network.py. Tests: tests/test_activations.py, tests/test_curvature.py.
#pragma once

#include <algorithm>
#include <cstddef>

#include "../math/exp_log_tanh.hpp"

namespace zeroloss {

enum class ActivationKind { identity, relu, leaky_relu, square, tanh, gelu, softplus };

struct Activation {
  ActivationKind kind;
  double parameter;  // the slope of leaky_relu, the sharpness b of softplus
};

/// Returns whether σ is linear on each side of 0. Then σ'' = 0 there, and at 0 it is defined as 0.
inline bool is_piecewise_linear(ActivationKind kind) {
  return kind == ActivationKind::identity || kind == ActivationKind::relu || kind == ActivationKind::leaky_relu;
}

// One functor for each σ. A NaN in z gives a NaN in σ(z), so a divergence stays visible.

template <class T>
struct Identity {
  [[gnu::always_inline]] ValueAndSlope<T> operator()(Vector<T> z) const { return {z, broadcast(T(1))}; }
};

/// max(z, 0), with σ'(0) = 0.
template <class T>
struct Relu {
  [[gnu::always_inline]] ValueAndSlope<T> operator()(Vector<T> z) const {
    return {z <= T(0) ? T(0) : z, z > T(0) ? broadcast(T(1)) : Vector<T>{}};
  }
};

/// z for z > 0, else slope · z; σ'(0) is the slope.
template <class T>
struct LeakyRelu {
  T slope;

  [[gnu::always_inline]] ValueAndSlope<T> operator()(Vector<T> z) const {
    return {z > T(0) ? z : slope * z, z > T(0) ? broadcast(T(1)) : broadcast(slope)};
  }
};

/// The same for a slope of at most 1, as max(z, slope · z) and without comparisons.
template <class T>
struct LeakyReluAsMaximum {
  T slope;

  [[gnu::always_inline]] ValueAndSlope<T> operator()(Vector<T> z) const {
    return {at_least<T>(z, slope * z), select_by_sign<T>(Vector<T>{} - z, broadcast(T(1)), broadcast(slope))};
  }
};

template <class T>
struct Square {
  [[gnu::always_inline]] ValueAndSlope<T> operator()(Vector<T> z) const { return {z * z, T(2) * z}; }
  [[gnu::always_inline]] Vector<T> second_derivative(Vector<T>) const { return broadcast(T(2)); }
};

template <class T>
struct Tanh {
  [[gnu::always_inline]] ValueAndSlope<T> operator()(Vector<T> z) const { return tanh<T>(z); }
  /// −2 σ σ'.
  [[gnu::always_inline]] Vector<T> second_derivative(Vector<T> z) const {
    const ValueAndSlope<T> result = tanh<T>(z);
    return T(-2) * result.value * result.slope;
  }
};

/// z Φ(z) and Φ(z) + z φ(z). For z ≤ 0, Φ(z) = Q(−z) is used, because it does not lose the digits of the negative tail.
template <class T>
struct Gelu {
  [[gnu::always_inline]] ValueAndSlope<T> operator()(Vector<T> z) const {
    constexpr T limit = Constants<T>::tail_zero;  // without this bound, 0 · ∞ could occur
    const Vector<T> bounded_below = at_least<T>(z, broadcast(-limit));
    const Vector<T> bounded = at_most<T>(bounded_below, broadcast(limit));
    const NormalTail<T> normal = normal_tail<T>(magnitude<T>(bounded));
    const Vector<T> cdf = select_by_sign<T>(z, normal.tail, T(1) - normal.tail);  // Φ(z)
    return {bounded_below * cdf, cdf + bounded * normal.density};
  }
  /// φ(z) (2 − z²).
  [[gnu::always_inline]] Vector<T> second_derivative(Vector<T> z) const {
    const Vector<T> size = at_most<T>(magnitude<T>(z), broadcast(Constants<T>::tail_zero));
    return normal_tail<T>(size).density * (T(2) - size * size);
  }
};

/// log(1 + e^(bz))/b = max(z, 0) + log(1 + q)/b, q = e^(−b|z|), and the logistic function 1/(1 + e^(−bz)).
template <class T>
struct Softplus {
  T b, inverse_b;

  [[gnu::always_inline]] Vector<T> exponential(Vector<T> z) const { return exp_nonpositive<T>(-b * magnitude<T>(z)); }
  [[gnu::always_inline]] ValueAndSlope<T> operator()(Vector<T> z, Vector<T> q) const {
    const SoftStep<T> step = soft_step<T>(q, z);
    return {at_least<T>(z, Vector<T>{}) + step.log * inverse_b, step.logistic};
  }
  /// b q/(1 + q)².
  [[gnu::always_inline]] Vector<T> second_derivative(Vector<T> z) const {
    const Vector<T> q = exponential(z), ratio = T(1) / (T(1) + q);
    return b * ratio * (q * ratio);
  }
};

/// σ whose exponentials are computed first, by a separate loop that stores them in S. In a single loop, the chain of
/// dependent operations would be so long that the processor stalls.
template <class T, class Sigma>
concept ExponentialFirst = requires(Sigma sigma, Vector<T> z) { sigma.exponential(z); };

/// Applies σ to the registers Z(i), two at a time. An element's bits must not depend on its position. Therefore this is
/// one piece of machine code, the same for every caller, and no sum has two products as terms, because the compiler
/// could choose which of them to fuse. Z may read H at the same place.
template <class T, class Sigma, class Source>
[[gnu::noipa, gnu::noinline]] void apply_to_registers(Sigma sigma, Source Z, T* H, T* S, std::size_t registers) {
  constexpr std::size_t width = lanes<T>, block = 64;
  for (std::size_t begin = 0; begin < registers; begin += block) {
    const std::size_t end = std::min(begin + block, registers);
    if constexpr (ExponentialFirst<T, Sigma>) {
#pragma GCC unroll 2
      for (std::size_t i = begin; i < end; ++i) {
        const Vector<T> z = Z(i);
        store(H + i * width, z);
        store(S + i * width, sigma.exponential(z));
      }
    }
#pragma GCC unroll 2
    for (std::size_t i = begin; i < end; ++i) {
      ValueAndSlope<T> result;
      if constexpr (ExponentialFirst<T, Sigma>)
        result = sigma(load(H + i * width), load(S + i * width));
      else
        result = sigma(Z(i));
      store(H + i * width, result.value);
      store(S + i * width, result.slope);
    }
  }
}

/// The registers of an array.
template <class T>
struct StoredRegisters {
  const T* array;
  [[gnu::always_inline]] Vector<T> operator()(std::size_t i) const { return load(array + i * lanes<T>); }
};

/// Applies σ to any number of elements. The last count % lanes elements go through a padded register.
template <class T, class Sigma>
void apply_to_all(Sigma sigma, const T* Z, T* H, T* S, std::size_t count) {
  constexpr std::size_t width = lanes<T>;
  const std::size_t rest = count % width, whole = count - rest;
  apply_to_registers(sigma, StoredRegisters<T>{Z}, H, S, whole / width);
  if (rest == 0) return;
  T z[width] = {}, value[width], slope[width];
  std::copy_n(Z + whole, rest, z);
  apply_to_registers(sigma, StoredRegisters<T>{z}, value, slope, 1);
  std::copy_n(value, rest, H + whole);
  std::copy_n(slope, rest, S + whole);
}

/// Calls f with the functor of an activation.
template <class T, class F>
void with_functor(const Activation& activation, const F& f) {
  const T parameter = static_cast<T>(activation.parameter);
  switch (activation.kind) {
    case ActivationKind::identity:
      return f(Identity<T>{});
    case ActivationKind::relu:
      return f(Relu<T>{});
    case ActivationKind::leaky_relu:
      return f(LeakyRelu<T>{parameter});
    case ActivationKind::square:
      return f(Square<T>{});
    case ActivationKind::tanh:
      return f(Tanh<T>{});
    case ActivationKind::gelu:
      return f(Gelu<T>{});
    case ActivationKind::softplus:
      return f(Softplus<T>{parameter, T(1) / parameter});
  }
}

/// Whether σ(z) takes so few operations that computing it again costs less than storing H and S.
inline bool is_cheap(const Activation& activation) {
  const bool is_maximum = activation.kind == ActivationKind::leaky_relu && activation.parameter <= 1;
  return is_maximum || activation.kind == ActivationKind::square;
}

/// Calls f with the functor of a cheap activation.
template <class T, class F>
[[gnu::always_inline]] inline void with_cheap_functor(const Activation& activation, const F& f) {
  if (activation.kind == ActivationKind::square) return f(Square<T>{});
  f(LeakyReluAsMaximum<T>{static_cast<T>(activation.parameter)});
}

/// H = σ(Z) and S = σ'(Z), each of `count` elements at any alignment. H may be Z; S must not overlap either.
template <class T>
void activate(const Activation& activation, const T* Z, T* H, T* S, std::size_t count) {
  with_functor<T>(activation, [=](auto sigma) { apply_to_all(sigma, Z, H, S, count); });
}

/// H = σ(Z) and S = σ'(Z) for the registers Z(i), which are computed on the way.
template <class T, class Source>
void activate_registers(const Activation& activation, Source Z, T* H, T* S, std::size_t registers) {
  with_functor<T>(activation, [=](auto sigma) { apply_to_registers(sigma, Z, H, S, registers); });
}

/// S₂ = σ''(Z) for whole registers. It is not inlined, for the reason given at `apply_to_registers`.
template <class T, class Sigma>
[[gnu::noipa, gnu::noinline]] void apply_second_derivative_to_registers(Sigma sigma, const T* Z, T* S2,
                                                                        std::size_t registers) {
  constexpr std::size_t width = lanes<T>;
  for (std::size_t i = 0; i < registers * width; i += width) store(S2 + i, sigma.second_derivative(load(Z + i)));
}

/// S₂ for all elements. The last count % lanes elements go through a padded register.
template <class T, class Sigma>
void apply_second_derivative(Sigma sigma, const T* Z, T* S2, std::size_t count) {
  constexpr std::size_t width = lanes<T>;
  const std::size_t rest = count % width, whole = count - rest;
  apply_second_derivative_to_registers(sigma, Z, S2, whole / width);
  if (rest == 0) return;
  T z[width] = {}, second[width];
  std::copy_n(Z + whole, rest, z);
  apply_second_derivative_to_registers(sigma, z, second, 1);
  std::copy_n(second, rest, S2 + whole);
}

/// S₂ = σ''(Z) for `count` elements at any alignment. It is 0 if σ is piecewise linear.
template <class T>
void second_derivatives(const Activation& activation, const T* Z, T* S2, std::size_t count) {
  const T parameter = static_cast<T>(activation.parameter);
  switch (activation.kind) {
    case ActivationKind::identity:
    case ActivationKind::relu:
    case ActivationKind::leaky_relu:
      std::fill_n(S2, count, T(0));
      return;
    case ActivationKind::square:
      return apply_second_derivative(Square<T>{}, Z, S2, count);
    case ActivationKind::tanh:
      return apply_second_derivative(Tanh<T>{}, Z, S2, count);
    case ActivationKind::gelu:
      return apply_second_derivative(Gelu<T>{}, Z, S2, count);
    case ActivationKind::softplus:
      return apply_second_derivative(Softplus<T>{parameter, T(1) / parameter}, Z, S2, count);
  }
}

/// H = σ(Z) alone, with the same bits as above. H may be Z.
template <class T>
void activate(const Activation& activation, const T* Z, T* H, std::size_t count) {
  constexpr std::size_t block = 512;
  T slopes[block];
  for (std::size_t start = 0; start < count; start += block)
    activate(activation, Z + start, H + start, slopes, std::min(block, count - start));
}

// activation.cpp has them. Every part of the module uses them.
extern template void activate(const Activation&, const float*, float*, float*, std::size_t);
extern template void activate(const Activation&, const float*, float*, std::size_t);
extern template void second_derivatives(const Activation&, const float*, float*, std::size_t);
extern template void activate(const Activation&, const double*, double*, double*, std::size_t);
extern template void activate(const Activation&, const double*, double*, std::size_t);
extern template void second_derivatives(const Activation&, const double*, double*, std::size_t);

}  // namespace zeroloss
