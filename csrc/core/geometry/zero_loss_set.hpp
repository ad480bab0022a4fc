// The zero-loss set {θ : F(θ) = Y} (Sec. 4): its tangent space, the norm-minimising direction g = −(I − J⁺J) θ (Eqs.
// 28, 29), the singular values of J, and a projection onto the set by the Gauss–Newton method.
// Shapes: E d_in × h, W h × d_out, F and Y n × d_out, J n·d_out × d with d = d_in·h + h·d_out.
// Python entry: python/zeroloss/geometry/solver.py. Test: tests/test_geometry.py.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "../math/lanczos.hpp"
#include "normal_equations.hpp"

namespace zeroloss {

enum class RetractionEnding { converged, stalled, singular, too_many_iterations };

struct RetractionSettings {
  double tolerance;  ///< the bound on max|F − Y| at the end
  Index max_iterations;
  bool reuse_factor;  ///< save factorisations by rough steps at first, and by chord steps if they contract fast enough
};

struct Retraction {
  RetractionEnding ending;
  std::vector<double> residuals;  ///< max|F − Y| before each iteration and after the last one
  int factorisations;             ///< how often J Jᵀ was factored
};

struct SingularValue {
  double value;
  double accuracy;  ///< a bound on the relative distance to a singular value of J
};

/// The zero-loss set of some samples, with workspace. J belongs to the point of the last `factor` or `retract`. Layers
/// that are not trained are constants: directions are 0 there, and steps leave them as they are.
class ZeroLossSet {
 public:
  ZeroLossSet(const Samples<double>& samples, Activation activation, SolverSettings settings, Team team = Team(),
              bool trains_E = true, bool trains_W = true)
      : jacobian_(samples, activation, team, trains_E, trains_W), normal_(samples, settings, team) {}

  /// Moves to (E: d_in × h, W: h × d_out).
  void move(MatrixView<double> E, MatrixView<double> W) {
    jacobian_.move(E, W);
    normal_.invalidate_factor();
  }

  /// The same, and factors J Jᵀ. Returns false if J is singular.
  bool factor(MatrixView<double> E, MatrixView<double> W) {
    move(E, W);
    return normal_.prepare(jacobian_);
  }

  /// Replaces v by its tangent part: v ← (I − J⁺J) v with J⁺ = Jᵀ(J Jᵀ)⁻¹. Returns false if the solve fails. With a
  /// factor there are two passes, because the normal equations square the condition of J: the second pass removes the
  /// error of the first.
  bool project_to_tangent(Parameters& v) {
    for (int pass = 0; pass < 2; ++pass) {
      jacobian_.multiply(v, R_);
      if (!normal_.solve(jacobian_, R_)) return false;
      jacobian_.multiply_transposed(R_, step_);
      v -= step_;
      if (normal_.kind() != SolverKind::dense) break;
    }
    return true;
  }

  /// Computes the norm-minimising direction g = −(I − J⁺J) θ = −θ + Jᵀ(J Jᵀ)⁻¹Jθ (Eqs. 28, 29), for any θ. Returns
  /// false if J is singular.
  bool direction(MatrixView<double> E, MatrixView<double> W, Parameters& g) {
    if (!factor(E, W)) return false;
    g.E = -E;
    g.W = -W;
    jacobian_.clear_constants(g);
    return project_to_tangent(g);
  }

  /// The same with the additional constraints x_i · g_u = 0 of pinned pairs: g = −(I − A⁺A) θ. A has the rows of J and
  /// of the constraints, which may be dependent. With the projector P off the constraints, g = −P θ + P Jᵀ (J P Jᵀ)⁻¹ J
  /// P θ. Two passes, as above.
  bool pinned_direction(MatrixView<double> E, MatrixView<double> W, const KinkConstraints& constraints, Parameters& g) {
    move(E, W);
    if (!normal_.prepare_pinned(jacobian_)) return false;
    g.E = -E;
    g.W = -W;
    jacobian_.clear_constants(g);
    constraints.project(g.E);
    for (int pass = 0; pass < 2; ++pass) {
      Index iterations = 0;
      jacobian_.multiply(g, R_);
      if (!normal_.solve_pinned(jacobian_, constraints, R_, normal_.tolerance(), iterations)) return false;
      jacobian_.multiply_transposed(R_, step_);
      g -= step_;
      constraints.project(g.E);
    }
    return true;
  }

  /// Moves θ onto the set by Gauss–Newton steps θ ← θ − t Jᵀ(J Jᵀ)⁻¹(F − Y). The step t is halved until the residual
  /// decreases, because kinks of the activation may be in the way. With `reuse_factor`, steps are rough as long as the
  /// residual is above `rough_` tolerances: conjugate gradients compute them to a relative residual of `forcing_`. This
  /// is cheaper than a factorisation, and kinks make exact steps inexact anyway.
  Retraction retract(MatrixMap<double> E, MatrixMap<double> W, RetractionSettings settings) {
    Retraction result{RetractionEnding::too_many_iterations, {}, 0};
    const auto end = [&](RetractionEnding ending) {
      result.ending = ending;
      return result;
    };
    move(E, W);
    jacobian_.residual(residual_);
    double norm = residual_.norm();
    bool reuse_old_factor = false;
    for (Index iteration = 0;; ++iteration) {
      const double residual = residual_.lpNorm<Eigen::Infinity>();
      result.residuals.push_back(residual);
      if (residual <= settings.tolerance) return end(RetractionEnding::converged);
      if (iteration == settings.max_iterations) return result;
      const bool rough = settings.reuse_factor && residual > rough_ * settings.tolerance;
      double new_norm = norm;
      if (rough && find_step([&](auto& R) { return normal_.solve_roughly(jacobian_, R, forcing_); }))
        new_norm = search_step(E, W, norm);
      else if (reuse_old_factor && find_step([&](auto& R) { return normal_.solve_with_factor(R), true; }))
        new_norm = try_step(E, W, 1);
      if (!(new_norm < norm)) {  // no cheaper step was tried or none succeeded: factor J Jᵀ
        move(E, W);
        jacobian_.residual(residual_);
        ++result.factorisations;
        if (!normal_.prepare(jacobian_) || !find_step([&](auto& R) { return normal_.solve(jacobian_, R); }))
          return end(RetractionEnding::singular);
        new_norm = search_step(E, W, norm);
        if (!(new_norm < norm)) return end(RetractionEnding::stalled);
        reuse_old_factor = settings.reuse_factor && normal_.kind() == SolverKind::dense;
      }
      if (!rough) reuse_old_factor = reuse_old_factor && chord_steps_pay(residual, new_norm / norm, settings.tolerance);
      E = trial_.E;
      W = trial_.W;
      norm = new_norm;
    }
  }

  /// Returns the largest singular value of J, a lower bound, to a relative `accuracy` or after `max_iterations`.
  SingularValue largest(double accuracy, Index max_iterations) {
    const auto result = largest_eigenvalue(jacobian_.rows(), 2 * accuracy, max_iterations, [&](Eigen::VectorXd& v) {
      R_ = as_rows(v);
      jacobian_.multiply_transposed(R_, step_);
      jacobian_.multiply(step_, R_);
      as_rows(v) = R_;
    });
    return {std::sqrt(result.value), result.accuracy / 2};
  }

  /// Computes the smallest singular value of J, an upper bound, to a relative `accuracy` or after `max_iterations`.
  /// Returns false if a solve fails. The singular vector is computed with the factor, which may belong to a nearby
  /// point. The product of the current J Jᵀ with the vector gives the value and its accuracy.
  bool smallest(double accuracy, Index max_iterations, SingularValue& result) {
    bool solved = true;
    Eigen::VectorXd v;
    const auto apply = [&](Eigen::VectorXd& x) {
      R_ = as_rows(x);
      if (normal_.kind() == SolverKind::dense)
        normal_.solve_with_factor(R_);
      else
        solved = solved && normal_.solve(jacobian_, R_);
      as_rows(x) = R_;
    };
    largest_eigenvalue(jacobian_.rows(), 2 * accuracy, max_iterations, apply, &v);
    apply(v);  // the remaining part along large singular vectors would be multiplied by cond(J)² in the product
    R_ = as_rows(v) / v.norm();
    jacobian_.multiply_transposed(R_, step_);
    jacobian_.multiply(step_, residual_);
    const double square = step_.dot(step_);
    result = {std::sqrt(square), (residual_ - square * R_).norm() / (2 * square)};
    return solved;
  }

  /// Returns the relative size below which a projection of v is rounding error: eps (‖J‖_F/σ_min)². The normal
  /// equations square the condition of J.
  double rounding(double smallest_singular_value) const {
    return std::numeric_limits<double>::epsilon() * normal_.trace() /
           (smallest_singular_value * smallest_singular_value);
  }

  Jacobian& jacobian() { return jacobian_; }
  NormalEquations& normal_equations() { return normal_; }
  Gram& gram() { return normal_.gram(); }

 private:
  static constexpr double rough_ = 1e8, forcing_ = 0.3;
  static constexpr double sufficient_decrease_ = 1e-4;  // share of the decrease that the linear model predicts
  static constexpr double smallest_step_ = 0x1p-20;

  MatrixMap<double> as_rows(Eigen::VectorXd& v) const {
    const Index d_out = jacobian_.samples().d_out();
    return {v.data(), v.size() / d_out, d_out};
  }

  /// Computes step_ = Jᵀ(J Jᵀ)⁻¹(F − Y). `solve` replaces F − Y by (J Jᵀ)⁻¹(F − Y) and returns whether it succeeded.
  template <class Solve>
  bool find_step(Solve&& solve) {
    R_ = residual_;
    if (!solve(R_)) return false;
    jacobian_.multiply_transposed(R_, step_);
    return true;
  }

  /// Moves to θ − t step_ and returns ‖F − Y‖ there.
  double try_step(MatrixView<double> E, MatrixView<double> W, double t) {
    trial_.E = E - t * step_.E;
    trial_.W = W - t * step_.W;
    move(trial_.E, trial_.W);
    jacobian_.residual(residual_);
    return residual_.norm();
  }

  /// Halves t from 1 until ‖F − Y‖ is smaller than `norm`. Returns the new ‖F − Y‖, or `norm` if no t is found.
  double search_step(MatrixView<double> E, MatrixView<double> W, double norm) {
    for (double t = 1; t >= smallest_step_; t /= 2)
      if (const double new_norm = try_step(E, W, t); new_norm < (1 - sufficient_decrease_ * t) * norm) return new_norm;
    return norm;
  }

  /// Whether chord steps with this contraction reach the tolerance sooner than a new factor, which costs about as much
  /// as rows/24 chord steps.
  bool chord_steps_pay(double residual, double contraction, double tolerance) const {
    const Index max_steps = std::max<Index>(4, jacobian_.rows() / 24);
    for (Index steps = 0; steps < max_steps; ++steps)
      if ((residual *= contraction) <= tolerance) return true;
    return false;
  }

  Jacobian jacobian_;
  NormalEquations normal_;
  Matrix<double> R_, residual_;
  Parameters step_, trial_;
};

}  // namespace zeroloss
