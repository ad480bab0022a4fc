// The loss as a function of the outputs F = H W (n × d_out).
#pragma once

#include "types.hpp"

namespace zeroloss {

enum class Reduction { mean, sum };

/// Squared error, c Σ (F − Y)²: c = 1 is the paper's sum (Eqs. 1, 12); c = 1/(n·d_out) the frameworks' mean.
struct SquaredError {
  Reduction reduction;

  double scale(Index n, Index d_out) const {
    return reduction == Reduction::mean ? 1.0 / static_cast<double>(n * d_out) : 1.0;
  }
};

}  // namespace zeroloss
