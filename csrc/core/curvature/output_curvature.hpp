// The second derivatives A of the loss with respect to the outputs F (n × d_out), a block for each sample. Python
// entry: python/zeroloss/curvature/kernel.py. Test: tests/test_curvature.py.
#pragma once

#include "../network/network.hpp"

namespace zeroloss {

/// Computes P = softmax(F), row by row.  F, P: n × d_out
inline void softmax(const Matrix<double>& F, Matrix<double>& P) {
  constexpr Index width = lanes<double>;
  P = F.colwise() - F.rowwise().maxCoeff();
  double* const entries = P.data();
  for (Index at = 0; at < P.size(); at += width) {
    double lane[width] = {};
    const Index used = std::min(width, P.size() - at);
    std::copy_n(entries + at, used, lane);
    store(lane, exp_nonpositive<double>(load(lane)));
    std::copy_n(lane, used, entries + at);
  }
  P.array().colwise() /= P.rowwise().sum().array().eval();
}

/// Squared error: A = 2c I. Cross-entropy: the block of sample i is w_i (diag(p_i) − p_i p_iᵀ), w_i = c Σ_j y_ij,
/// p_i = softmax(F_i); a temperature T replaces F_i by F_i/T and w_i by w_i/T². Differences from the most probable
/// output m are used, because they keep the digits of 1 − p_m.
class OutputCurvature {
 public:
  OutputCurvature(const Matrix<double>& Y, Loss loss) : Y_(Y), loss_(loss), c_(loss.scale(Y.rows(), Y.cols())) {}

  /// Moves to the outputs F.
  void move(const Matrix<double>& F) {
    if (loss_.kind != LossKind::cross_entropy) return;
    const double T = loss_.temperature;
    softmax(F / T, P_);
    weights_ = c_ / (T * T) * Y_.rowwise().sum();
    most_probable_.resize(F.rows());
    for (Index i = 0; i < F.rows(); ++i) F.row(i).maxCoeff(&most_probable_[i]);
  }

  /// Replaces the rows [begin, begin + count) of dF (n × d_out) by the same rows of A dF.
  void multiply_rows(Index begin, Index count, Matrix<double>& dF) const {
    if (loss_.kind != LossKind::cross_entropy) {
      dF.middleRows(begin, count) *= 2 * c_;
      return;
    }
    for (Index i = begin; i < begin + count; ++i) {
      auto row = dF.row(i);
      const double reference = row[most_probable_[i]];
      row.array() -= reference;
      const double mean = P_.row(i).dot(row);
      row.array() = weights_[i] * P_.row(i).array() * (row.array() - mean);
    }
  }

  /// Returns the trace of the block of sample i: w_i (Σ_{k ≠ m} p_k (1 − p_k) + p_m r) with r = 1 − p_m.
  double trace(Index i) const {
    if (loss_.kind != LossKind::cross_entropy) return 2 * c_ * static_cast<double>(Y_.cols());
    const Index m = most_probable_[i];
    double others = 0, sum = 0;
    for (Index k = 0; k < P_.cols(); ++k)
      if (k != m) {
        others += P_(i, k);
        sum += P_(i, k) * (1 - P_(i, k));
      }
    return weights_[i] * (sum + P_(i, m) * others);
  }

  /// Returns wᵀ A_i w for the block A_i of sample i.  w: d_out
  template <class Row>
  double square(Index i, const Row& w) const {
    if (loss_.kind != LossKind::cross_entropy) return 2 * c_ * w.squaredNorm();
    const double reference = w[most_probable_[i]];
    const double mean = P_.row(i).dot((w.array() - reference).matrix());
    return weights_[i] * (P_.row(i).array() * (w.array() - reference - mean).square()).sum();
  }

 private:
  const Matrix<double>& Y_;
  Loss loss_;
  double c_;
  Matrix<double> P_;
  Eigen::VectorXd weights_;
  Eigen::Matrix<Index, Eigen::Dynamic, 1> most_probable_;
};

}  // namespace zeroloss
