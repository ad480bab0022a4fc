// Solves J Jᵀ Z = R, R and Z: n × d_out. `dense` factors the Gram matrix; `matrix_free` uses conjugate gradients.
#pragma once

#include "gram.hpp"
#include "gram_factor.hpp"
#include "gram_product.hpp"
#include "kink_constraints.hpp"
#include "kronecker_preconditioner.hpp"

namespace zeroloss {

enum class SolverKind { dense, matrix_free };

struct SolverSettings {
  SolverKind kind;
  double tolerance;      ///< conjugate gradients: the residual relative to the right-hand side
  Index max_iterations;  ///< conjugate gradients: iterations for one right-hand side
};

/// `dense` needs (n·d_out)² doubles. `matrix_free` needs up to six times n², for the preconditioner and for H Hᵀ.
class NormalEquations {
 public:
  NormalEquations(const Samples<double>& samples, SolverSettings settings, Team team = Team())
      : settings_(settings), team_(team), gram_(samples, team), preconditioner_(team), product_(samples, team) {}

  /// Factors J Jᵀ, or the preconditioner if matrix-free, at the point of J. Returns false if it is singular.
  bool prepare(const Jacobian& J) {
    if (settings_.kind == SolverKind::matrix_free) {
      const bool regular = preconditioner_.factor(J, gram_, 0);
      trace_ = preconditioner_.trace();
      return regular;
    }
    gram_.lower_triangle(J, gram_factor_.lower(J.rows()));
    trace_ = gram_factor_.trace();
    factor_is_current_ = gram_factor_.factor(team_);
    return factor_is_current_;
  }

  /// Factors J Jᵀ + δI with δ > 0 for solve_with_factor. Returns false if it is singular to rounding. Dense only.
  bool prepare_softened(const Jacobian& J, double softening) {
    auto& K = gram_factor_.lower(J.rows());
    gram_.lower_triangle(J, K);
    K.diagonal().array() += softening;
    factor_is_current_ = false;  // The factor is not that of J Jᵀ.
    return gram_factor_.factor(team_, softening);
  }

  /// Records that J has moved: the factor belongs to another point from now on.
  void invalidate_factor() { factor_is_current_ = false; }

  /// R ← (J Jᵀ)⁻¹ R, R: n × d_out. If the factor belongs to another point, it is the preconditioner of conjugate
  /// gradients. Returns false if the tolerance is not reached.
  bool solve(Jacobian& J, Matrix<double>& R) {
    if (settings_.kind == SolverKind::matrix_free)
      return conjugate_gradients(J, R, settings_.tolerance, Preconditioner::kronecker);
    if (!factor_is_current_) return conjugate_gradients(J, R, settings_.tolerance, Preconditioner::gram);
    solve_with_factor(R);
    return true;
  }

  /// The same to the relative residual `tolerance`, without a factor of J Jᵀ. A single factor of the preconditioner is
  /// enough for a few iterations, and where rough steps end depends on it.
  bool solve_roughly(Jacobian& J, Matrix<double>& R, double tolerance) {
    return preconditioner_.factor(J, gram_, 0, 1) && conjugate_gradients(J, R, tolerance, Preconditioner::kronecker);
  }

  /// Factors the preconditioner of J Jᵀ + shift · I for solve_pinned. Returns false if it is singular. (Subtracting the
  /// part of the pinned pairs does not pay.)
  bool prepare_pinned(const Jacobian& J, double shift = 0) { return preconditioner_.factor(J, gram_, shift); }

  /// R ← (J P Jᵀ + shift · I)⁻¹ R to the relative residual `tolerance`, with the projector P off the pinned pairs, by
  /// conjugate gradients with the factor of the last `prepare_pinned`. Adds the number of iterations to `iterations`.
  bool solve_pinned(Jacobian& J, const KinkConstraints& constraints, Matrix<double>& R, double tolerance,
                    Index& iterations, double shift = 0) {
    return conjugate_gradients(J, R, tolerance, Preconditioner::kronecker, &constraints, &iterations, shift);
  }

  /// R ← K⁻¹ R with the factor of K = J Jᵀ at its point, which may differ from the point of J. Dense only.
  void solve_with_factor(Matrix<double>& R) const {
    const FlushDenormals flush;  // as in blocks
    gram_factor_.solve_in_place(Eigen::Map<Eigen::VectorXd>(R.data(), R.size()));
  }

  double trace() const { return trace_; }  ///< the trace of J Jᵀ at the point of the factor: ‖J‖²_F
  double tolerance() const { return settings_.tolerance; }
  SolverKind kind() const { return settings_.kind; }
  Gram& gram() { return gram_; }

 private:
  enum class Preconditioner { kronecker, gram };

  void precondition(Preconditioner preconditioner, const Matrix<double>& R, Matrix<double>& Z) {
    if (preconditioner == Preconditioner::gram) {
      Z = R;
      solve_with_factor(Z);
    } else {
      preconditioner_.solve(R, Z);
    }
  }

  bool conjugate_gradients(Jacobian& J, Matrix<double>& R, double tolerance, Preconditioner preconditioner,
                           const KinkConstraints* constraints = nullptr, Index* iterations = nullptr,
                           double shift = 0) {
    const double target = tolerance * R.norm();
    const bool in_panels = J.H().rows() <= J.H().cols();  // then (H Hᵀ) P is faster than H (Hᵀ P)
    if (in_panels) product_.move(J);
    X_.setZero(R.rows(), R.cols());
    double rz = 0;
    for (Index iteration = 0; R.norm() > target; ++iteration) {
      if (iterations) ++*iterations;
      precondition(preconditioner, R, Z_);
      const double next_rz = R.cwiseProduct(Z_).sum();
      if (iteration == settings_.max_iterations || !(next_rz > 0)) return false;
      if (iteration == 0)
        P_ = Z_;
      else
        P_ = Z_ + (next_rz / rz) * P_;
      rz = next_rz;
      if (in_panels) {
        product_.multiply(P_, constraints, KP_);
      } else {
        J.multiply_transposed(P_, gradient_);
        if (constraints) constraints->project(gradient_.E);
        J.multiply(gradient_, KP_);
      }
      if (shift != 0) KP_ += shift * P_;
      const double step = rz / P_.cwiseProduct(KP_).sum();
      X_ += step * P_;
      R -= step * KP_;
    }
    R = X_;
    return true;
  }

  SolverSettings settings_;
  Team team_;
  Gram gram_;
  GramFactor gram_factor_;
  KroneckerPreconditioner preconditioner_;
  GramProduct product_;
  bool factor_is_current_ = false;
  double trace_ = 0;
  Matrix<double> X_, Z_, P_, KP_;
  Parameters gradient_;
};

}  // namespace zeroloss
