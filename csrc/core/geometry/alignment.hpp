// How far updates follow the norm-minimising direction (Figs. 5 and 7).
#pragma once

#include <limits>

#include "zero_loss_set.hpp"

namespace zeroloss {

struct Alignment {
  double cosine;           ///< of the update with g
  double decay_cosine;     ///< of the update with −θ, the naive alternative
  double tangent_share;    ///< ‖(I − J⁺J) update‖ / ‖update‖
  SingularValue smallest;  ///< of J
  bool update_is_zero, direction_is_zero;
};

/// Of the update θ − θ_earlier, with g = −(I − J⁺J) θ and J where `set` is, at the projection of θ. A cosine with
/// a vector that is zero, or no larger than rounding, is NaN. False where J is singular.
inline bool measure_alignment(ZeroLossSet& zero_loss_set, const Parameters& theta, const Parameters& earlier,
                              double accuracy, Index max_iterations, Alignment& alignment) {
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  const Parameters update{theta.E - earlier.E, theta.W - earlier.W};
  Parameters g{-theta.E, -theta.W}, tangent = update;
  SingularValue smallest;
  if (!zero_loss_set.project_to_tangent(g) || !zero_loss_set.project_to_tangent(tangent) ||
      !zero_loss_set.smallest(accuracy, max_iterations, smallest))
    return false;
  const double length = update.norm(), theta_length = theta.norm(), g_length = g.norm();
  const bool no_update = length == 0, no_direction = g_length <= zero_loss_set.rounding(smallest.value) * theta_length;
  alignment = {no_update || no_direction ? nan : update.dot(g) / (length * g_length),
               no_update || theta_length == 0 ? nan : -update.dot(theta) / (length * theta_length),
               no_update ? nan : tangent.norm() / length,
               smallest,
               no_update,
               no_direction};
  return true;
}

}  // namespace zeroloss
