// The gradients of small problems: one chunk of samples, one tile of outputs and plain steps. Function calls cost time
// in them.
#pragma once

#include "descent_samples.hpp"
#include "layer_strips.hpp"

namespace zeroloss {

/// Computes gW and the step of W, and gE, of the strips [begin, end) of units. backward_of(u) is the way of strip u to
/// H and gH, and update(u) takes the step of its E. It is called one strip late, so it does not have to wait for
/// multiply-adds of its own strip.
template <int d_out, class T, class BackwardOf, class Update>
void small_gradients(Index begin, Index end, const DescentSamples<T>& batch, LayerStrips<T>& theta,
                     const Step<T>& step_W, const BackwardOf& backward_of, const Update& update) {
  for (Index u = begin; u < end; ++u) {
    const auto backward = backward_of(u);
    gradients_tile<d_out>(
        backward, GradientsTile<T>{batch.n, 0, batch.G.data(), d_out, theta.W(u), nullptr, true, true, &step_W});
    if (u > begin) update(u - 1);
  }
  update(end - 1);
}

}  // namespace zeroloss
