// Implicit steps of the norm flow, beyond the paper: the point of the zero-loss set that is nearest to a point c,
//   argmin ½‖θ − c‖²  subject to  σ(X E) W = Y,
// also along the kinks of σ. With a softening δ > 0 the constraint is a penalty,
//   argmin ½‖θ − c‖² + ‖F − Y‖²/(2δ),  whose conditions are the same with F − Y + δ Λ = 0 instead of F = Y:
// this is an implicit step of the gradient flow at finite weight decay. Shapes: E d_in × h, W h × d_out, the multiplier
// Λ n × d_out. Python entries: python/zeroloss/dynamics/proximal.py, softened_proximal.py. Tests:
// tests/test_proximal.py, tests/test_gradient_flow.py.
#pragma once

#include <algorithm>
#include <cmath>

#include "../geometry/normal_equations.hpp"
#include "proximal_units.hpp"

namespace zeroloss {

enum class ProximalEnding { converged, stalled, units_do_not_settle, singular, too_many_iterations };

struct ProximalSettings {
  double tolerance;       ///< the bound on max|F − Y + δ Λ| at the end
  double unit_tolerance;  ///< the tolerance of each unit's conditions, in entries of θ
  Index max_iterations;   ///< Newton's method; it always makes at least one
  double forcing;         ///< the relative residual of Newton's linear systems; in a retraction, the smallest one
  double softening = 0;   ///< δ
};

struct ProximalSolve {
  ProximalEnding ending = ProximalEnding::too_many_iterations;
  double residual = 0;  ///< max|F − Y + δ Λ|
  Index iterations = 0, linear_iterations = 0;
};

/// The solver, with workspace.
class Proximal {
 public:
  Proximal(const Samples<double>& samples, Activation activation, Index max_linear_iterations, Team team = Team())
      : jacobian_(samples, activation, team),
        normal_(samples, {SolverKind::matrix_free, 0, max_linear_iterations}, team),
        units_(samples, activation, team),
        constraints_(samples, team) {}

  /// Solves for the nearest point to c, starting from `point` and the multiplier Λ, which are updated. This is Newton's
  /// method on Λ; each trial solves the problems of all units. The equation (K + δI) d = −(F − Y + δ Λ) with K = J P Jᵀ
  /// and the projector P off the pinned pairs is the semismooth Newton equation without the curvature of the units'
  /// Lagrangian.
  ProximalSolve solve(const Parameters& c, Matrix<double>& multiplier, ProximalPoint& point,
                      ProximalSettings settings) {
    ProximalSolve result;
    const auto end = [&](ProximalEnding ending) {
      result.ending = ending;
      result.residual = residual_.lpNorm<Eigen::Infinity>();
      pin_pairs(point);
      return result;
    };
    const bool settled = units_.solve(c, multiplier, settings.unit_tolerance, point, true);
    double norm = move_to(point.theta, multiplier, settings.softening);
    if (!settled) return end(ProximalEnding::units_do_not_settle);
    for (;; ++result.iterations) {
      if (result.iterations > 0 && residual_.lpNorm<Eigen::Infinity>() <= settings.tolerance)
        return end(ProximalEnding::converged);
      if (result.iterations == settings.max_iterations) return end(ProximalEnding::too_many_iterations);
      pin_pairs(point);
      step_ = -residual_;
      if ((result.iterations == 0 && !normal_.prepare_pinned(jacobian_, settings.softening)) ||
          !normal_.solve_pinned(jacobian_, constraints_, step_, settings.forcing, result.linear_iterations,
                                settings.softening))
        return end(ProximalEnding::singular);
      double t = 1;
      for (; t >= smallest_step_; t /= 2) {
        trial_ = point;
        trial_multiplier_ = multiplier + t * step_;
        if (!units_.solve(c, trial_multiplier_, settings.unit_tolerance, trial_, false)) continue;
        if (const double new_norm = move_to(trial_.theta, trial_multiplier_, settings.softening);
            new_norm < (1 - sufficient_decrease_ * t) * norm) {
          norm = new_norm;
          break;
        }
      }
      if (t < smallest_step_) {
        move_to(point.theta, multiplier, settings.softening);
        return end(ProximalEnding::stalled);
      }
      std::swap(point, trial_);
      multiplier.swap(trial_multiplier_);
    }
  }

  /// Moves `point` onto the set by Gauss–Newton steps θ ← θ − t P Jᵀ K⁻¹ (F − Y). Its pinned pairs stay pinned. The
  /// linear systems are solved only to the precision that the nonlinearity of F allows: if a step reduced the residual
  /// by a factor f, the next one can reduce it by about f² (Eisenstat and Walker's second choice).
  ProximalSolve retract(ProximalPoint& point, ProximalSettings settings) {
    ProximalSolve result;
    const auto end = [&](ProximalEnding ending) {
      result.ending = ending;
      result.residual = residual_.lpNorm<Eigen::Infinity>();
      return result;
    };
    pin_pairs(point);
    double norm = move_to(point.theta), expected = first_reduction_;
    for (;; ++result.iterations) {
      const double residual = residual_.lpNorm<Eigen::Infinity>();
      if (residual <= settings.tolerance) return end(ProximalEnding::converged);
      if (result.iterations == settings.max_iterations) return end(ProximalEnding::too_many_iterations);
      step_ = residual_;
      const double forcing = std::max({settings.forcing, 0.1 * settings.tolerance / residual, expected});
      if ((result.iterations == 0 && !normal_.prepare_pinned(jacobian_)) ||
          !normal_.solve_pinned(jacobian_, constraints_, step_, forcing, result.linear_iterations))
        return end(ProximalEnding::singular);
      jacobian_.multiply_transposed(step_, direction_);
      constraints_.project(direction_.E);
      double t = 1;
      for (; t >= smallest_step_; t /= 2) {
        trial_.theta.E = point.theta.E - t * direction_.E;
        trial_.theta.W = point.theta.W - t * direction_.W;
        if (const double new_norm = move_to(trial_.theta); new_norm < (1 - sufficient_decrease_ * t) * norm) {
          expected = std::min(first_reduction_, (new_norm / norm) * (new_norm / norm));
          norm = new_norm;
          break;
        }
      }
      if (t < smallest_step_) {
        move_to(point.theta);
        return end(ProximalEnding::stalled);
      }
      std::swap(point.theta, trial_.theta);
    }
  }

  Index pinned() const { return constraints_.count(); }  ///< number of pinned pairs after `solve` or `retract`
  const Samples<double>& samples() const { return jacobian_.samples(); }

 private:
  static constexpr double smallest_step_ = 0x1p-5, sufficient_decrease_ = 1e-4, first_reduction_ = 0.05;

  double move_to(const Parameters& theta) {
    jacobian_.move(theta.E, theta.W);
    jacobian_.residual(residual_);
    return residual_.norm();
  }

  /// The same for the conditions with a softening: residual_ = F − Y + δ Λ.
  double move_to(const Parameters& theta, const Matrix<double>& multiplier, double softening) {
    const double norm = move_to(theta);
    if (softening == 0) return norm;
    residual_ += softening * multiplier;
    return residual_.norm();
  }

  void pin_pairs(const ProximalPoint& point) {
    constraints_.assign(point.T.cols(), [&](Index i, Index u) { return ProximalUnits::is_pinned(point.T(i, u)); });
  }

  Jacobian jacobian_;
  NormalEquations normal_;
  ProximalUnits units_;
  KinkConstraints constraints_;
  Matrix<double> residual_, step_, trial_multiplier_;
  ProximalPoint trial_;
  Parameters direction_;
};

}  // namespace zeroloss
