// The Cholesky factor K = L Lᵀ of a symmetric positive definite matrix, and solves with it.
#pragma once

#include <limits>

#include "../../linalg/team.hpp"
#include "../types.hpp"

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
  bool factor(const Team& team = Team(), double least = std::numeric_limits<double>::infinity());

  /// x ← K⁻¹ x.  x: size
  void solve_in_place(Eigen::Ref<Eigen::VectorXd> x) const;

  Index failed_pivot() const { return failed_pivot_; }  ///< the index of the pivot that failed, or −1

 private:
  void factor_diagonal(Index begin, Index width);

  Eigen::MatrixXd L_;
  Eigen::VectorXd smallest_allowed_;
  Index failed_pivot_ = -1;
};

}  // namespace zeroloss
