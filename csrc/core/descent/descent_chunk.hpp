// A request for steps of a descent.
#pragma once

#include <vector>

#include "../types.hpp"

namespace zeroloss {

struct DescentChunk {
  Index steps;                   ///< at least 0
  std::vector<double> rates;     ///< the learning rate of each step; if empty, the optimizer's
  bool losses;                   ///< whether the training loss at θ before each step is wanted
  std::vector<Index> record_at;  ///< increasing steps of the chunk, from 0 on: θ is described before each of them
};

}  // namespace zeroloss
