// The loss as a function of the outputs F = H W (n × d_out).
#pragma once

#include "../types.hpp"

namespace zeroloss {

enum class LossKind { squared_error, cross_entropy };
enum class Reduction { mean, sum };

/// Squared error c Σ (F − Y)²: c = 1 is the paper's sum (Eqs. 1, 12), c = 1/(n·d_out) the frameworks' mean.
/// Cross-entropy c Σ_i Σ_k y_ik (log Σ_j e^{F_ij} − F_ik), softmax over the outputs: c = 1, or 1/n for the mean.
struct Loss {
  LossKind kind;
  Reduction reduction;

  double scale(Index n, Index d_out) const {
    if (reduction == Reduction::sum) return 1.0;
    return 1.0 / static_cast<double>(kind == LossKind::squared_error ? n * d_out : n);
  }
};

}  // namespace zeroloss
