// The Gram matrix J Jᵀ (n·d_out × n·d_out) by its closed form. Entry ((i, k), (j, l)) is
//   δ_kl (H Hᵀ)_ij + (X Xᵀ)_ij Σ_u σ'(Z_iu) σ'(Z_ju) W_uk W_ul.
#pragma once

#include <algorithm>
#include <vector>

#include "jacobian.hpp"

namespace zeroloss {

/// A pair of samples j ≤ i with (X Xᵀ)_ij ≠ 0.
struct Overlap {
  Index i, j;
  double product;
};

/// Finds the pairs of samples with (X Xᵀ)_ij ≠ 0.
inline std::vector<Overlap> find_overlaps(const SparseInputs<double>& X) {
  struct Entry {
    Index row;
    double value;
  };
  std::vector<std::vector<Entry>> columns(static_cast<std::size_t>(X.d_in));
  std::vector<double> products(static_cast<std::size_t>(X.n()));
  std::vector<Overlap> overlaps;
  Index row = 0;
  const auto finish_rows = [&](Index end) {  // `columns` has the samples up to `row`; `products` is row `row` of X Xᵀ
    for (; row < end; ++row)
      for (Index j = 0; j <= row; ++j)
        if (double& product = products[static_cast<std::size_t>(j)]; product != 0) {
          overlaps.push_back({row, j, product});
          product = 0;
        }
  };
  X.for_each(0, X.n(), [&](Index i, Index column, double value) {
    finish_rows(i);
    auto& entries = columns[static_cast<std::size_t>(column)];
    entries.push_back({i, value});
    for (const Entry& entry : entries) {
      const double product = value * entry.value;
      // If a row lists a column twice, the entry is the sum. Products of two of its terms therefore count twice.
      const bool is_repeated = entry.row == i && &entry != &entries.back();
      products[static_cast<std::size_t>(entry.row)] += is_repeated ? 2 * product : product;
    }
  });
  finish_rows(X.n());
  return overlaps;
}

inline std::vector<Overlap> find_overlaps(const DenseInputs<double>& X) {
  const Matrix<double> products = X.X * X.X.transpose();
  std::vector<Overlap> overlaps;
  for (Index i = 0; i < X.n(); ++i)
    for (Index j = 0; j <= i; ++j)
      if (products(i, j) != 0) overlaps.push_back({i, j, products(i, j)});
  return overlaps;
}

/// Computes J Jᵀ or parts of it. The pairs of overlapping samples are found once.
class Gram {
 public:
  explicit Gram(const Samples<double>& samples, Team team = Team())
      : team_(team),
        workspaces_(static_cast<std::size_t>(team.size())),
        overlaps_(std::visit([](const auto& inputs) { return find_overlaps(inputs); }, samples.X)) {}

  /// Computes the lower triangle of K = J Jᵀ, column-major. The entries above the diagonal do not change.
  void lower_triangle(const Jacobian& J, Eigen::Ref<Eigen::MatrixXd> K) {
    const Index n = J.H().rows(), d_out = J.W().cols();
    for_blocks(team_, n * d_out, [&](Index begin, Index length) {
      for (Index column = begin; column < begin + length; ++column) K.col(column).tail(n * d_out - column).setZero();
    });
    for_each_first_layer_entry(J, [&](const Overlap& pair, Index k, Index l, double value) {
      K(pair.i * d_out + k, pair.j * d_out + l) = value;
      if (pair.i != pair.j) K(pair.i * d_out + l, pair.j * d_out + k) = value;
    });
    readout_.resize(n, n);
    J.readout_gram(readout_);
    for_blocks(team_, n, readout_columns_, [&](Index begin, Index length) {
      for (Index j = begin; j < begin + length; ++j)
        for (Index k = 0; k < d_out; ++k)
          for (Index i = j; i < n; ++i) K(i * d_out + k, j * d_out + k) += readout_(i, j);
    });
  }

  /// Computes all of K = J Jᵀ.
  void full(const Jacobian& J, Eigen::Ref<Eigen::MatrixXd> K) {
    lower_triangle(J, K);
    K.triangularView<Eigen::StrictlyUpper>() = K.transpose();
  }

  /// Computes `scale` times the trace over k = l of the first layer's part, for each pair of overlapping samples.
  void mean_first_layer(const Jacobian& J, double scale, Eigen::VectorXd& values) const {
    const Eigen::RowVectorXd share = scale * J.W().rowwise().squaredNorm().transpose();
    values.resize(static_cast<Index>(overlaps_.size()));
    for_blocks(team_, values.size(), pairs_, [&](Index begin, Index length) {
      for (Index q = begin; q < begin + length; ++q) {
        const Overlap& pair = overlaps_[static_cast<std::size_t>(q)];
        values[q] = pair.product * (J.S().row(pair.i).array() * J.S().row(pair.j).array() * share.array()).sum();
      }
    });
  }

  /// Adds `factor` times such values to the lower triangle of K, n × n.
  void add_pairs(double factor, const Eigen::VectorXd& values, Eigen::MatrixXd& K) const {
    for (std::size_t q = 0; q < overlaps_.size(); ++q)
      K(overlaps_[q].i, overlaps_[q].j) += factor * values[static_cast<Index>(q)];
  }

  /// The trace of the matrix with such values.
  double trace_of_pairs(const Eigen::VectorXd& values) const {
    double trace = 0;
    for (std::size_t q = 0; q < overlaps_.size(); ++q)
      if (overlaps_[q].i == overlaps_[q].j) trace += values[static_cast<Index>(q)];
    return trace;
  }

 private:
  /// Calls put(pair, k, l ≤ k, value) for the entries of the first layer's part, which is symmetric in k and l. The
  /// sums over u are products of the rows (X Xᵀ)_ij σ'(Z_i) ⊙ σ'(Z_j) with the columns W_k ⊙ W_l, for blocks of pairs.
  template <class Put>
  void for_each_first_layer_entry(const Jacobian& J, Put&& put) {
    const Matrix<double>&S = J.S(), &W = J.W();
    const Index h = W.rows(), d_out = W.cols(), count = static_cast<Index>(overlaps_.size());
    weights_.resize(h, d_out * (d_out + 1) / 2);
    for_blocks(team_, h, [&](Index begin, Index length) {
      for (Index u = begin; u < begin + length; ++u)
        for (Index k = 0, at = 0; k < d_out; at += ++k)
          weights_.row(u).segment(at, k + 1) = W(u, k) * W.row(u).head(k + 1);
    });
    for_blocks(team_, count, pairs_, [&](Index begin, Index size, int member) {
      auto& [slopes, blocks] = workspaces_[static_cast<std::size_t>(member)];
      slopes.resize(size, h);
      for (Index q = 0; q < size; ++q) {
        const Overlap& pair = overlaps_[static_cast<std::size_t>(begin + q)];
        slopes.row(q) = pair.product * S.row(pair.i).cwiseProduct(S.row(pair.j));
      }
      blocks.noalias() = slopes * weights_;
      for (Index q = 0; q < size; ++q)
        for (Index k = 0, at = 0; k < d_out; ++k)
          for (Index l = 0; l <= k; ++l, ++at) put(overlaps_[static_cast<std::size_t>(begin + q)], k, l, blocks(q, at));
    });
  }

  static constexpr Index pairs_ = 256, readout_columns_ = 16;  // number in a block

  struct Workspace {
    Matrix<double> slopes, blocks;
  };

  Team team_;
  std::vector<Workspace> workspaces_;  // one for each member of the team
  std::vector<Overlap> overlaps_;
  Matrix<double> weights_, readout_;
};

}  // namespace zeroloss
