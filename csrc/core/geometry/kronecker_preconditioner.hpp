// A preconditioner of J Jᵀ + δI with n × n factors. The readout's part of J Jᵀ is H Hᵀ ⊗ I. The first layer's part,
// (X Xᵀ)_ij Σ_u σ'(Z_iu) σ'(Z_ju) W_uk W_ul, is replaced by the Kronecker product M ⊗ C with C = WᵀW and
//   M_ij = (X Xᵀ)_ij Σ_u σ'(Z_iu) σ'(Z_ju) ‖W_u‖² / tr C,
// which has the same sum over k = l. Along an eigenvector of C with the eigenvalue γ, the outputs then have the matrix
// H Hᵀ + γ M + δI. Eigenvalues that differ little share a factor, with their mean.
#pragma once

#include <array>

#include "../math/symmetric_eigen.hpp"
#include "gram.hpp"
#include "gram_factor.hpp"

namespace zeroloss {

/// The preconditioner, with workspace. It takes up to `most_groups` factors.
class KroneckerPreconditioner {
 public:
  static constexpr std::size_t most_groups = 3;

  explicit KroneckerPreconditioner(Team team) : team_(team) {}

  /// Factors up to `groups` matrices at the point of J; a single one is the mean over outputs of the diagonal blocks of
  /// J Jᵀ. Returns false if one of them is singular.
  bool factor(const Jacobian& J, Gram& gram, double shift, std::size_t groups = most_groups) {
    const Index n = J.H().rows();
    const Eigen::MatrixXd C = J.W().transpose() * J.W();
    const SymmetricEigen outputs = symmetric_eigen(C);
    basis_ = outputs.vectors;
    if (groups == 1) basis_.setIdentity();  // any basis will do
    group_eigenvalues(outputs.values, groups);
    const double trace = C.trace();
    gram.mean_first_layer(J, trace > 0 ? 1 / trace : 0, mean_);
    readout_.resize(n, n);
    J.readout_gram(readout_);
    trace_ = static_cast<double>(C.rows()) * readout_.trace() + trace * gram.trace_of_pairs(mean_);
    for (std::size_t g = 0; g < count_; ++g) {
      Eigen::MatrixXd& K = factors_[g].lower(n);
      K.triangularView<Eigen::Lower>() = readout_;
      gram.add_pairs(groups_[g].eigenvalue, mean_, K);
      K.diagonal().array() += shift;
      if (!factors_[g].factor(team_)) return false;
    }
    return true;
  }

  double trace() const { return trace_; }  ///< the trace of J Jᵀ, also if a matrix is singular

  /// Z = the preconditioner's inverse times R.  R, Z: n × d_out
  void solve(const Matrix<double>& R, Matrix<double>& Z) {
    Z.resize(R.rows(), R.cols());
    columns_.resize(R.rows(), R.cols());
    for_blocks(team_, static_cast<Index>(blocks_.size()), 1, [&](Index first, Index) {
      const Block& block = blocks_[static_cast<std::size_t>(first)];
      auto columns = columns_.middleCols(block.begin, block.length);
      columns.noalias() = R * basis_.middleCols(block.begin, block.length);
      factors_[block.group].solve_columns_in_place(columns);
    });
    for_blocks(team_, R.rows(), [&](Index begin, Index length) {
      Z.middleRows(begin, length).noalias() = columns_.middleRows(begin, length) * basis_.transpose();
    });
  }

 private:
  static constexpr double ratio_ = 3;        // of the eigenvalues in a group, except the last group
  static constexpr Index max_columns_ = 20;  // right-hand sides in a block; each block packs the factor again

  struct Group {
    Index begin, end;
    double eigenvalue;
  };

  /// Eigenvectors that one task solves for.
  struct Block {
    std::size_t group;
    Index begin, length;
  };

  /// Divides eigenvalues in ascending order into groups, from the greatest on.
  void group_eigenvalues(const Eigen::VectorXd& eigenvalues, std::size_t most) {
    blocks_.clear();
    count_ = 0;
    for (Index end = eigenvalues.size(); end > 0; ++count_) {
      Index begin = count_ + 1 == most ? 0 : end - 1;
      while (begin > 0 && ratio_ * eigenvalues[begin - 1] >= eigenvalues[end - 1]) --begin;
      const Index size = end - begin, tasks = ceil_div(size, max_columns_), length = ceil_div(size, tasks);
      groups_[count_] = {begin, end, std::max(0.0, eigenvalues.segment(begin, size).mean())};
      for (Index first = begin; first < end; first += length)
        blocks_.push_back({count_, first, std::min(length, end - first)});
      end = begin;
    }
  }

  Team team_;
  Eigen::MatrixXd basis_, columns_, readout_;
  Eigen::VectorXd mean_;  // M, for each pair of overlapping samples
  std::array<Group, most_groups> groups_;
  std::array<GramFactor, most_groups> factors_;
  std::size_t count_ = 0;
  std::vector<Block> blocks_;
  double trace_ = 0;
};

}  // namespace zeroloss
