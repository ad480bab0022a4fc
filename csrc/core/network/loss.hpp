// The loss as a function of the outputs F = H W (n × d_out).
#pragma once

#include "../types.hpp"

namespace zeroloss {

enum class LossKind { squared_error, cross_entropy };
enum class Reduction { mean, sum };

/// The squared error is c Σ (F − Y)²: c = 1 gives the paper's sum (Eqs. 1, 12), c = 1/(n·d_out) PyTorch's mean. The
/// cross-entropy is c Σ_i Σ_k y_ik (log Σ_j e^{F_ij} − F_ik), with the softmax over the outputs and c = 1, or c = 1/n
/// for the mean. A temperature T divides its outputs: the loss is that of F/T.
struct Loss {
  LossKind kind;
  Reduction reduction;
  double temperature = 1;

  double scale(Index n, Index d_out) const {
    if (reduction == Reduction::sum) return 1.0;
    return 1.0 / static_cast<double>(kind == LossKind::squared_error ? n * d_out : n);
  }
};

}  // namespace zeroloss
