// The forward product of a descent, F = H W and from it G: what it reads, for both ways of making it.
#pragma once

#include <span>

#include "descent_samples.hpp"
#include "layer_strips.hpp"

namespace zeroloss {

/// One set of samples under one θ.
template <class T>
struct ForwardProduct {
  DescentSamples<T>& samples;  // G becomes 2c (F − Y), or F for the cross-entropy
  LayerStrips<T>& theta;       // of E negated where `fast`
  std::span<const OutputRange> tiles;
  Index h;
  bool relu_on_pairs;             // H of ReLU on pairs is made on the way; of others it is stored in `set`
  Index registers_per_row;        // registers in a row of E_transposed, or 0 where there is none
  const T *E_transposed, *zeros;  // zeros: where outputs of the cross-entropy start

  const T* initial_outputs(Index strip) const { return samples.is_cross_entropy ? zeros : samples.minus_Y_of(strip); }
  T scale() const { return samples.is_cross_entropy ? T{1} : static_cast<T>(2 * samples.c); }
};

/// Whether hidden units lie along the lanes, outputs_along_units.hpp, or samples do, outputs_along_samples.hpp.
inline constexpr bool units_along_lanes = register_bytes < 64;

/// Strips of samples to a task.
inline constexpr Index task_strips = units_along_lanes ? 4 : tile_strips;

}  // namespace zeroloss
