// Products and solves of one vector with a Cholesky factor, and an estimate of the condition number with them. Each
// reads L once. Vectors x have whole panels of entries, zero beyond n.
#pragma once

#include "cholesky.hpp"

namespace zeroloss {

template <class T>
class FactorVector {
 public:
  static constexpr Index width = panel_width<T>;

  explicit FactorVector(const Cholesky<T>& factor) : L_(factor), size_(factor.panels() * width), scratch_(size_) {}

  Index size() const { return size_; }

  /// x ← K x = L Lᵀ x.
  void multiply(T* x) {
    T* const y = scratch_.data();  // Lᵀ x
    std::fill_n(y, size_, T{0});
    for (Index i = 0; i < L_.panels(); ++i) add_dots(i, 0, filled(i), x + i * width, T{1}, y);
    for (Index i = 0; i < L_.panels(); ++i) {
      std::fill_n(x + i * width, width, T{0});
      add_columns(i, filled(i), y, T{1}, x + i * width);
    }
  }

  /// x ← K⁻¹ x.
  void solve(T* x) const {
    for (Index i = 0; i < L_.panels(); ++i) {
      T* const xi = x + i * width;
      add_columns(i, i * width, x, T{-1}, xi);
      for (Index c = 0; c < L_.columns(i); ++c) {
        for (Index k = 0; k < c; ++k) xi[c] -= diagonal_square(i)[k * width + c] * xi[k];
        xi[c] /= diagonal_square(i)[c * width + c];
      }
    }
    for (Index i = L_.panels() - 1; i >= 0; --i) {
      T* const xi = x + i * width;
      for (Index c = L_.columns(i) - 1; c >= 0; --c) {
        const T* const column = diagonal_square(i) + c * width;
        for (Index k = c + 1; k < L_.columns(i); ++k) xi[c] -= column[k] * xi[k];
        xi[c] /= column[c];
      }
      add_dots(i, 0, i * width, xi, T{-1}, x);
    }
  }

 private:
  const T* diagonal_square(Index i) const { return L_.panel(i) + i * width * width; }
  /// The number of columns of panel i up to the end of its diagonal square.
  Index filled(Index i) const { return i * width + L_.columns(i); }

  /// y_i += sign · Σ_k L_ik x_k over the first columns.
  void add_columns(Index i, Index columns, const T* x, T sign, T* y) const {
    Vector<T> sum[panel_vectors] = {};
    const T* column = L_.panel(i);
    for (Index k = 0; k < columns; ++k, column += width) {
      for (int v = 0; v < panel_vectors; ++v) sum[v] += load(column + v * lanes<T>) * broadcast(x[k]);
    }
    for (int v = 0; v < panel_vectors; ++v) {
      T* const output = y + v * lanes<T>;
      store(output, load(output) + broadcast(sign) * sum[v]);
    }
  }

  /// y_k += sign · (L_ikᵀ x_i) for columns from <= k < to.
  void add_dots(Index i, Index from, Index output, const T* xi, T sign, T* y) const {
    for (Index k = from; k < output; ++k) {
      Vector<T> products{};
      for (int v = 0; v < panel_vectors; ++v) {
        products += load(L_.panel(i) + k * width + v * lanes<T>) * load(xi + v * lanes<T>);
      }
      T sum = 0;
      for (int lane = 0; lane < lanes<T>; ++lane) sum += products[lane];
      y[k] += sign * sum;
    }
  }

  const Cholesky<T>& L_;
  Index size_;
  Buffer<T> scratch_;
};

/// Returns a lower estimate of the condition number of K in the 2-norm, by `iterations` power iterations with K for the
/// largest eigenvalue and with K⁻¹ for the smallest. Both start from the same fixed vector.
template <class T>
double condition_estimate(const Cholesky<T>& factor, int iterations = 12) {
  FactorVector<T> K(factor);
  Buffer<T> x(K.size());
  const auto estimate_growth = [&](auto&& apply) {
    for (Index i = 0; i < K.size(); ++i) {  // a fixed start with mixed signs and sizes
      const auto mixed = static_cast<double>((i * 7919 + 104729) % 1009);
      x.data()[i] = i < factor.size() ? static_cast<T>(mixed / 1009 - 0.4) : T{0};
    }
    double norm = 0;
    for (int iteration = 0; iteration <= iterations; ++iteration) {
      norm = 0;
      for (Index i = 0; i < factor.size(); ++i) {
        norm += static_cast<double>(x.data()[i]) * static_cast<double>(x.data()[i]);
      }
      norm = std::sqrt(norm);
      if (iteration == iterations) break;
      for (Index i = 0; i < factor.size(); ++i) {
        x.data()[i] = static_cast<T>(static_cast<double>(x.data()[i]) / norm);
      }
      apply(x.data());
    }
    return norm;
  };
  const double largest = estimate_growth([&](T* v) { K.multiply(v); });
  const double inverse_of_smallest = estimate_growth([&](T* v) { K.solve(v); });
  return largest * inverse_of_smallest;
}

}  // namespace zeroloss
