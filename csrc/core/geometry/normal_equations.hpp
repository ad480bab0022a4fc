// Solves J Jᵀ Z = R: with a factor of the Gram matrix, or without the matrix, by conjugate gradients.
#pragma once

#include "gram.hpp"
#include "gram_factor.hpp"
#include "kink_constraints.hpp"

namespace zeroloss {

enum class SolverKind { dense, matrix_free };

struct SolverSettings {
  SolverKind kind;
  double tolerance;      ///< of conjugate gradients: the residual, relative to the right-hand side
  Index max_iterations;  ///< of conjugate gradients, for one right-hand side
};

/// Dense takes (n·d_out)² doubles. Matrix-free takes n² of them, for the preconditioner M ⊗ I with M the mean over
/// outputs of the diagonal blocks: the readout part H Hᵀ, and what the first layer adds to it on average. With H Hᵀ
/// alone there would be no preconditioner for h < n.
class NormalEquations {
 public:
  NormalEquations(const Samples<double>& samples, SolverSettings settings, Team team = Team())
      : settings_(settings), team_(team), gram_(samples, team) {}

  /// Makes the point of J that of the factor; false where J Jᵀ (or M) is singular.
  bool prepare(const Jacobian& J) {
    if (settings_.kind == SolverKind::matrix_free) return prepare_mean(J);
    gram_.lower_triangle(J, gram_factor_.lower(J.rows()));
    trace_ = gram_factor_.trace();
    factor_is_current_ = gram_factor_.factor(team_);
    return factor_is_current_;
  }

  /// Says that J has moved: from now on the factor is that of another point.
  void invalidate_factor() { factor_is_current_ = false; }

  /// R ← (J Jᵀ)⁻¹ R, R: n × d_out; by conjugate gradients where the factor is that of another point, which then
  /// preconditions. False where the tolerance is not reached.
  bool solve(Jacobian& J, Matrix<double>& R) {
    if (settings_.kind == SolverKind::matrix_free)
      return conjugate_gradients(J, R, settings_.tolerance, Preconditioner::mean);
    if (!factor_is_current_) return conjugate_gradients(J, R, settings_.tolerance, Preconditioner::gram);
    solve_with_factor(R);
    return true;
  }

  /// The same to a small relative residual only, without a factor of J Jᵀ.
  bool solve_roughly(Jacobian& J, Matrix<double>& R, double tolerance) {
    return prepare_mean(J) && conjugate_gradients(J, R, tolerance, Preconditioner::mean);
  }

  /// Factors M for solve_pinned; false where it is singular. (Taking the pinned pairs' part from it does not pay.)
  bool prepare_pinned(const Jacobian& J) { return prepare_mean(J); }

  /// R ← (J P Jᵀ)⁻¹ R, P the projector off pinned pairs, to a relative residual, by conjugate gradients with the M of
  /// the last preparation; adds the iterations to `iterations`.
  bool solve_pinned(Jacobian& J, const KinkConstraints& constraints, Matrix<double>& R, double tolerance,
                    Index& iterations) {
    return conjugate_gradients(J, R, tolerance, Preconditioner::mean, &constraints, &iterations);
  }

  /// The same with the factor, whatever its point. Dense only.
  void solve_with_factor(Matrix<double>& R) const {
    const FlushDenormals flush;  // as in blocks
    gram_factor_.solve_in_place(Eigen::Map<Eigen::VectorXd>(R.data(), R.size()));
  }

  double trace() const { return trace_; }  ///< of J Jᵀ at the factor's point: ‖J‖²_F
  double tolerance() const { return settings_.tolerance; }
  SolverKind kind() const { return settings_.kind; }
  Gram& gram() { return gram_; }

 private:
  enum class Preconditioner { mean, gram };

  bool prepare_mean(const Jacobian& J) {
    gram_.mean_block(J, mean_factor_.lower(J.H().rows()));
    if (settings_.kind == SolverKind::matrix_free) trace_ = mean_factor_.trace() * static_cast<double>(J.W().cols());
    return mean_factor_.factor(team_);
  }

  void precondition(Preconditioner preconditioner, const Matrix<double>& R, Matrix<double>& Z) {
    if (preconditioner == Preconditioner::gram) {
      Z = R;
      solve_with_factor(Z);
    } else {
      mean_factor_.solve(team_, R, Z);
    }
  }

  bool conjugate_gradients(Jacobian& J, Matrix<double>& R, double tolerance, Preconditioner preconditioner,
                           const KinkConstraints* constraints = nullptr, Index* iterations = nullptr) {
    const double target = tolerance * R.norm();
    const bool readout_first = J.H().rows() <= J.H().cols();  // then (H Hᵀ) P is quicker than H (Hᵀ P)
    if (readout_first) compute_readout(J.H());
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
      if (readout_first)
        J.multiply_first_transposed(P_, gradient_.E);
      else
        J.multiply_transposed(P_, gradient_);
      if (constraints) constraints->project(gradient_.E);
      if (readout_first) {
        J.multiply_first(gradient_.E, KP_, [&](Index begin, Index length) {
          KP_.middleRows(begin, length).noalias() += readout_.middleRows(begin, length) * P_;
        });
      } else {
        J.multiply(gradient_, KP_);
      }
      const double step = rz / P_.cwiseProduct(KP_).sum();
      X_ += step * P_;
      R -= step * KP_;
    }
    R = X_;
    return true;
  }

  /// H Hᵀ, all of it.
  void compute_readout(const Matrix<double>& H) {
    const Index n = H.rows();
    readout_.resize(n, n);
    multiply_by_own_transpose(team_, H, readout_);
    for_blocks(team_, n, [&](Index begin, Index length) {
      const Index end = begin + length;
      readout_.block(begin, end, length, n - end) = readout_.block(end, begin, n - end, length).transpose();
    });
  }

  SolverSettings settings_;
  Team team_;
  Gram gram_;
  GramFactor gram_factor_, mean_factor_;
  bool factor_is_current_ = false;
  double trace_ = 0;
  Matrix<double> X_, Z_, P_, KP_, readout_;
  Parameters gradient_;
};

}  // namespace zeroloss
