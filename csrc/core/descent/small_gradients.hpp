// The gradients of small problems: one chunk of samples, one tile of outputs and plain steps. Function calls cost time
// in them.
#pragma once

#include "descent_samples.hpp"
#include "layer_strips.hpp"

namespace zeroloss {

/// Computes gW and the step of W, and gE, of the strips [begin, end) of units. backward_of(u) is the way of strip u to
/// H and gH, and update(u) takes the step of its E. It is called one strip late, so it does not have to wait for
/// multiply-adds of its own strip.
template <class T, class BackwardOf, class Update>
void small_gradients(Index begin, Index end, const DescentSamples<T>& batch, LayerStrips<T>& theta, Index d_out,
                     const Step<T>& step_W, const BackwardOf& backward_of, const Update& update) {
  using Backward = decltype(backward_of(begin));
  // A pointer to the tile, because a loop for each number of outputs takes a tenth of the time of compilation.
  void (*tile)(Backward, const GradientsTile<T>&) = nullptr;
  with_number<backward_outputs>(d_out, [&](auto K) { tile = gradients_tile<K, T, Backward>; });
  for (Index u = begin; u < end; ++u) {
    tile(backward_of(u), GradientsTile<T>{batch.n, 0, batch.G.data(), d_out, theta.W(u), nullptr, true, true, &step_W});
    if (u > begin) update(u - 1);
  }
  update(end - 1);
}

}  // namespace zeroloss
