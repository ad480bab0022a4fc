// Implicit steps of the norm flow with softened constraints, for smooth activations, beyond the paper. They pass points
// at which J loses rank:
//   argmin ½‖θ − c‖² + ‖F − Y‖²/(2δ),  so that  θ = c + JᵀΛ  and  F − Y = −δΛ.
// Shapes: E and the first layer of c d_in × h, W and the second layer of c h × d_out, F, Y and Λ n × d_out.
// Python entry: python/zeroloss/dynamics/softened.py. Test: tests/test_norm_flow_rank.py.
#pragma once

#include <cmath>

#include "zero_loss_set.hpp"

namespace zeroloss {

enum class SoftenedEnding { converged, singular, too_many_iterations };

struct SoftenedSettings {
  double softening;  ///< δ > 0
  double tolerance;  ///< the bound on max|F − Y| at the end
  double accuracy;   ///< the bound on the last change of θ, relative to ‖θ‖
  Index max_iterations;
};

struct SoftenedStep {
  SoftenedEnding ending;
  double residual;     ///< max|F − Y| at the end
  double contraction;  ///< the mean factor by which an iteration reduced the change of θ; 0 after one iteration
  Index iterations;    ///< each has one factorisation
};

/// Solves for a step from θ, which is updated; Λ is computed. Each iteration is a Gauss–Newton step with the exact
/// residual: θ ← c + JᵀΛ with Λ = −(J Jᵀ + δI)⁻¹ (F − Y + J(c − θ)). It drops the curvature of the constraints, so the
/// convergence is linear, with a factor that is proportional to the size of the step. `zero_loss_set` has to be dense.
inline SoftenedStep solve_softened(ZeroLossSet& zero_loss_set, const Parameters& c, SoftenedSettings settings,
                                   Parameters& theta, Matrix<double>& multiplier) {
  constexpr double slowest = 0.8;  // the contraction from which on more iterations do not pay
  Jacobian& J = zero_loss_set.jacobian();
  NormalEquations& normal = zero_loss_set.normal_equations();
  Parameters direction;
  Matrix<double> residual;
  double first_change = 0;
  SoftenedStep step{SoftenedEnding::too_many_iterations, 0, 0, 0};
  zero_loss_set.move(theta.E, theta.W);
  J.residual(residual);
  while (step.iterations < settings.max_iterations) {
    direction = {c.E - theta.E, c.W - theta.W};
    J.multiply(direction, multiplier);
    multiplier = -multiplier - residual;
    ++step.iterations;
    if (!normal.prepare_softened(J, settings.softening)) {
      step.ending = SoftenedEnding::singular;
      break;
    }
    normal.solve_with_factor(multiplier);
    Parameters next;
    J.multiply_transposed(multiplier, next);
    next.E += c.E;
    next.W += c.W;
    direction = {next.E - theta.E, next.W - theta.W};
    const double change = direction.norm();
    theta = next;
    zero_loss_set.move(theta.E, theta.W);
    J.residual(residual);
    step.residual = residual.lpNorm<Eigen::Infinity>();
    if (step.iterations == 1) {
      first_change = change;
    } else {
      step.contraction = std::pow(change / first_change, 1 / static_cast<double>(step.iterations - 1));
    }
    if (change <= settings.accuracy * theta.norm() && step.residual <= settings.tolerance) {
      step.ending = SoftenedEnding::converged;
      break;
    }
    if (step.iterations > 2 && !(step.contraction < slowest)) break;  // written this way, NaN ends the iteration too
  }
  return step;
}

}  // namespace zeroloss
