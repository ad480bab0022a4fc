// A request to the descent kernel: how many steps to take, and which losses and records to return.
#pragma once

#include <vector>

#include "../types.hpp"

namespace zeroloss {

struct DescentChunk {
  Index steps;                   ///< at least 0
  std::vector<double> rates;     ///< the learning rate of each step; if empty, the optimizer's rate is used
  bool losses;                   ///< whether to return the training loss before each step
  std::vector<Index> record_at;  ///< increasing step numbers in the chunk, from 0 on; a record is made before each
};

}  // namespace zeroloss
