// A request to the descent kernel (how many steps to take, and which losses and records to return) and the state that
// the steps change.
#pragma once

#include <vector>

#include "../types.hpp"
#include "layer_strips.hpp"

namespace zeroloss {

struct DescentChunk {
  Index steps;                   ///< at least 0
  std::vector<double> rates;     ///< the learning rate of each step; if empty, the optimizer's rate is used
  bool losses;                   ///< whether to return the training loss before each step
  std::vector<Index> record_at;  ///< increasing step numbers in the chunk, from 0 on; a record is made before each
};

/// The caller's arrays that steps change: θ, the state of the optimizer and of the norm constraint (null if not used),
/// and the number of steps taken.
template <class T>
struct DescentState {
  Layers<T> theta, velocity, compensation, squares;
  double* reference_norm = nullptr;
  Index* steps = nullptr;
};

}  // namespace zeroloss
