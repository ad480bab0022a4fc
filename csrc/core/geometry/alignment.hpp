// The alignment of updates with the norm-minimising direction (Sec. 7.1, Figs. 5 and 7). Python entry:
// python/zeroloss/geometry/alignment.py. Test: tests/test_alignment.py.
#pragma once

#include <limits>

#include "zero_loss_set.hpp"

namespace zeroloss {

struct Alignment {
  double cosine;           ///< cosine of the update with g
  double decay_cosine;     ///< cosine of the update with −θ, the simpler direction
  double tangent_share;    ///< ‖(I − J⁺J) update‖ / ‖update‖
  SingularValue smallest;  ///< the smallest singular value of J
  bool update_is_zero, direction_is_zero;
};

/// Measures the alignment of the update θ − θ_earlier with g = −(I − J⁺J) θ. J belongs to the current point of
/// `zero_loss_set`, the projection of θ. A cosine with a vector that is zero, or as small as rounding errors, is NaN.
/// Returns false if J is singular.
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
