// The Cholesky factor K = L Lᵀ of a symmetric positive definite matrix, and solves with it.
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <limits>

#include "../math/blocks.hpp"

namespace zeroloss {

/// The factor replaces the lower triangle of K. The algorithm is left-looking, by columns of blocks, so most of the
/// work is in products with a long inner index.
class GramFactor {
 public:
  /// Returns memory for the lower triangle of a size × size matrix. The caller fills it before factor().
  Eigen::MatrixXd& lower(Index size) {
    L_.resize(size, size);
    return L_;
  }

  double trace() const { return L_.trace(); }  ///< the trace of K; valid before factor()

  /// Replaces the lower triangle by L. Returns false if a pivot is not above the rounding error of its sums, size · eps
  /// times its diagonal entry. No pivot is below the smallest eigenvalue. If that is at least `least`, a pivot above
  /// least/2 suffices.
  bool factor(const Team& team = Team(), double least = std::numeric_limits<double>::infinity()) {
    constexpr Index block = 64;
    const Index size = L_.rows();
    const double rounding = static_cast<double>(size) * std::numeric_limits<double>::epsilon();
    smallest_allowed_ = (rounding * L_.diagonal()).cwiseMin(least / 2);
    failed_pivot_ = -1;
    for (Index k = 0; k < size; k += block) {
      const Index width = std::min(block, size - k), rest = size - k - width;
      auto diagonal = L_.block(k, k, width, width);
      const auto left = L_.block(k, 0, width, k);
      if (k > 0) diagonal.triangularView<Eigen::Lower>() -= left * left.transpose();
      factor_diagonal(k, width);
      if (failed_pivot_ >= 0) break;
      const Index pieces = std::clamp<Index>(rest / 200, 1, 16);  // each piece packs `left` again
      for_blocks(team, rest, ceil_div(std::max<Index>(rest, 1), pieces), [&](Index begin, Index length) {
        const Index row = k + width + begin;
        auto below = L_.block(row, k, length, width);
        if (k > 0) below.noalias() -= L_.block(row, 0, length, k) * left.transpose();
        diagonal.transpose().triangularView<Eigen::Upper>().solveInPlace<Eigen::OnTheRight>(below);
      });
    }
    return failed_pivot_ < 0;
  }

  /// x ← K⁻¹ x.  x: one right-hand side, or a few as columns, each of size `size`
  template <class Columns>
  void solve_in_place(Columns&& x) const {
    L_.triangularView<Eigen::Lower>().solveInPlace(x);
    L_.transpose().triangularView<Eigen::Upper>().solveInPlace(x);
  }

  Index failed_pivot() const { return failed_pivot_; }  ///< the index of the pivot that failed, or −1

 private:
  void factor_diagonal(Index begin, Index width) {
    auto D = L_.block(begin, begin, width, width);
    for (Index j = 0; j < width; ++j) {
      const Index rest = width - j - 1;
      const double pivot = D(j, j) - D.row(j).head(j).squaredNorm();
      if (!(pivot > smallest_allowed_[begin + j])) {  // written this way, NaN fails too
        failed_pivot_ = begin + j;
        return;
      }
      D(j, j) = std::sqrt(pivot);
      if (rest == 0) return;
      D.col(j).tail(rest).noalias() -= D.block(j + 1, 0, rest, j) * D.row(j).head(j).transpose();
      D.col(j).tail(rest) /= D(j, j);
    }
  }

  Eigen::MatrixXd L_;
  Eigen::VectorXd smallest_allowed_;
  Index failed_pivot_ = -1;
};

}  // namespace zeroloss
