// The arguments of the forward product of a descent: F = H W and, from it, G. outputs_along_samples.hpp and
// outputs_along_units.hpp compute it in two ways.
#pragma once

#include <span>

#include "../network/activation.hpp"
#include "descent_samples.hpp"
#include "layer_strips.hpp"

namespace zeroloss {

/// The forward product of some samples at one θ.
template <class T>
struct ForwardProduct {
  DescentSamples<T>& samples;  // their G becomes 2c (F − Y), or F/T for the cross-entropy
  LayerStrips<T>& theta;       // E is negated if relu_on_hot_rows
  std::span<const OutputRange> tiles;
  Index h;
  bool relu_on_hot_rows;          // compute H on the way; else it is stored in `samples` unless
  const Activation* recomputed;   // this is not null, which is then computed on the way
  const T* E;                     // the strips whose rows add up to Z of k-hot rows; negated as in theta
  bool has_output_biases;         // G holds the initial outputs
  Index registers_per_row;        // registers in a row of E_transposed; 0 if it is not used
  const T *E_transposed, *zeros;  // zeros: the initial outputs for the cross-entropy

  const T* initial_outputs(Index strip) const {
    if (has_output_biases) return samples.G_of(strip);
    return samples.is_cross_entropy ? zeros : samples.minus_Y_of(strip);
  }
  const T* E_of(Index u) const { return E + u * samples.X.d_in * lanes<T>; }
  T scale() const { return static_cast<T>(samples.is_cross_entropy ? 1 / samples.temperature : 2 * samples.c); }
};

/// Whether hidden units lie along the lanes (outputs_along_units.hpp) for ReLU on hot rows, or samples do
/// (outputs_along_samples.hpp). For other activations, hidden units do, except in some small problems.
inline constexpr bool relu_along_units = register_bytes < 64;

/// Strips of samples in a task.
inline constexpr Index task_strips = relu_along_units ? 4 : tile_strips;

}  // namespace zeroloss
