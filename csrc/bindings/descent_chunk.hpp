// The answer of a descent to a request for steps.
#pragma once

#include <optional>

#include "../core/descent/descent_chunk.hpp"
#include "../core/network/record.hpp"
#include "bindings.hpp"

namespace zeroloss {

struct DescentAnswer {
  bool finite;                           ///< whether all numbers of the state are finite
  std::optional<Array<double>> losses;   ///< (steps)
  std::optional<Array<Record>> records;  ///< (record_at)
};

}  // namespace zeroloss
