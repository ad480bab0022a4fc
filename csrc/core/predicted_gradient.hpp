// The first layer's own dynamics, the second held at its optimum (the paper's Sec. 6, Eqs. 15–20).
#pragma once

#include <Eigen/Cholesky>
#include <limits>

#include "condition.hpp"
#include "network.hpp"

namespace zeroloss {

/// ΔE = Xᵀ((B Wᵀ) ⊙ σ'(Z)) − E  with  B = (K + λI)⁻¹ Y,  W = φ(E) = Hᵀ B,  K = H Hᵀ.
///
/// For n ≤ h the n × n matrix K + λI is factored; for n > h (λ > 0 only) the h × h matrix HᵀH + λI,
/// with W = (HᵀH + λI)⁻¹ Hᵀ Y and B = (Y − H W)/λ.
template <class T>
class PredictedGradient {
 public:
  PredictedGradient(const Samples<T>& samples, Activation activation, double ridge)
      : samples_(samples), activation_(activation), ridge_(static_cast<T>(ridge)) {}

  /// φ(E) and ΔE at E (d_in × h); false where the factorisation fails.
  bool evaluate(MatrixView<T> E) {
    if (!solve(E)) return false;
    G_.noalias() = B_ * W_.transpose();
    G_.array() *= S_.array();
    samples_.multiply_transposed(G_, direction_);
    direction_ -= E;
    return true;
  }

  /// E ← E + step_size ΔE, in place; returns the steps taken, fewer where a factorisation fails.
  Index advance(MatrixMap<T> E, T step_size, Index steps) {
    for (Index step = 0; step < steps; ++step) {
      if (!evaluate(E)) return step;
      E += step_size * direction_;
    }
    return steps;
  }

  /// B and φ(E) alone; false where the factorisation fails.
  bool solve(MatrixView<T> E) {
    hidden(samples_, E, activation_, H_, S_);
    if (samples_.n() <= E.cols()) {
      if (!factor(H_ * H_.transpose())) return false;
      B_ = factor_.solve(samples_.Y);
      W_.noalias() = H_.transpose() * B_;
    } else {
      if (!factor(H_.transpose() * H_)) return false;
      W_ = factor_.solve(H_.transpose() * samples_.Y);
      B_ = (samples_.Y - H_ * W_) / ridge_;
    }
    return true;
  }

  const Samples<T>& samples() const { return samples_; }
  const Matrix<T>& direction() const { return direction_; }  ///< ΔE, d_in × h
  const Matrix<T>& W() const { return W_; }                  ///< φ(E), h × d_out

  /// R(E)/λ = ‖E‖² + tr(YᵀB) (Eq. 19 for every λ), after solve().
  double cost(MatrixView<T> E) const {
    return E.template cast<double>().squaredNorm() +
           samples_.Y.template cast<double>().cwiseProduct(B_.template cast<double>()).sum();
  }

  /// Of the factored matrix, after solve().
  double condition() const {
    return condition_estimate<T>(
        factor_.rows(), [&](auto& v) { v = factor_.matrixL() * (factor_.matrixU() * v).eval(); },
        [&](auto& v) { factor_.solveInPlace(v); });
  }

 private:
  /// A pivot no larger than rounding leaves of its diagonal entry means a singular matrix.
  bool factor(Matrix<T> K) {
    K.diagonal().array() += ridge_;
    factor_.compute(K);
    if (factor_.info() != Eigen::Success) return false;
    const auto pivots = factor_.matrixLLT().diagonal().array().square();
    return (pivots > 16 * std::numeric_limits<T>::epsilon() * K.diagonal().array()).all();
  }

  const Samples<T>& samples_;
  Activation activation_;
  T ridge_;
  Matrix<T> H_, S_, G_, B_, W_, direction_;
  Eigen::LLT<Matrix<T>> factor_;
};

}  // namespace zeroloss
