// The two-layer network F = σ(X E) W: forward and backward, as they are defined.
// The dynamics have faster kernels of their own; these serve single evaluations and records.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "activation.hpp"
#include "loss.hpp"
#include "rows.hpp"
#include "types.hpp"

namespace zeroloss {

/// Pre-activations' images: H = σ(X E) and, where wanted, S = σ'(X E), both n × h.
template <class T>
void hidden(const Samples<T>& samples, MatrixView<T> E, Activation activation, Matrix<T>& H) {
  samples.multiply(E, H);
  activate(activation, H.data(), H.data(), static_cast<std::size_t>(H.size()));
}

template <class T>
void hidden(const Samples<T>& samples, MatrixView<T> E, Activation activation, Matrix<T>& H, Matrix<T>& S) {
  samples.multiply(E, H);
  S.resize(H.rows(), H.cols());
  activate(activation, H.data(), H.data(), S.data(), static_cast<std::size_t>(H.size()));
}

/// Loss and both gradients at (E: d_in × h, W: h × d_out):
///   G = 2c (H W − Y),  gW = Hᵀ G,  gE = Xᵀ ((G Wᵀ) ⊙ σ'(Z)).
template <class T>
double loss_and_gradient(const Samples<T>& samples, MatrixView<T> E, MatrixView<T> W, Activation activation,
                         SquaredError loss, Matrix<T>& gE, Matrix<T>& gW) {
  Matrix<T> H, S;
  hidden(samples, E, activation, H, S);
  Matrix<T> residual = H * W - samples.Y;
  const double scale = loss.scale(samples.n(), samples.d_out());
  const double value = scale * residual.template cast<double>().squaredNorm();
  residual *= static_cast<T>(2 * scale);
  gW.noalias() = H.transpose() * residual;
  Matrix<T> gZ = residual * W.transpose();
  gZ.array() *= S.array();
  samples.multiply_transposed(gZ, gE);
  return value;
}

/// Σ a² in double precision, in sums enough for the registers.
template <class T>
double sum_of_squares(const T* a, Index count) {
  constexpr Index width = 16;
  double sums[width] = {};
  Index i = 0;
  for (; i + width <= count; i += width)
    for (Index w = 0; w < width; ++w) sums[w] += static_cast<double>(a[i + w]) * static_cast<double>(a[i + w]);
  for (; i < count; ++i) sums[0] += static_cast<double>(a[i]) * static_cast<double>(a[i]);
  return std::accumulate(sums, sums + width, 0.0);
}

/// What a record says of one set of samples.
struct Evaluation {
  double loss;
  double accuracy;  ///< share of samples whose largest output is the target's; the first of equals counts
  double residual;  ///< ‖H W − Y‖_F
};

template <class T>
Evaluation evaluate(const Samples<T>& samples, MatrixView<T> E, MatrixView<T> W, Activation activation,
                    SquaredError loss) {
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  if (samples.n() == 0) return {nan, nan, nan};
  Matrix<T> H;
  hidden(samples, E, activation, H);
  const Matrix<T> F = H * W;
  Index correct = 0;
  for (Index i = 0; i < F.rows(); ++i) {
    const T *outputs = &F(i, 0), *targets = &samples.Y(i, 0);
    correct += std::max_element(outputs, outputs + F.cols()) - outputs ==
               std::max_element(targets, targets + F.cols()) - targets;
  }
  const Matrix<T> residual = F - samples.Y;
  const double squares = sum_of_squares(residual.data(), residual.size());
  return {loss.scale(samples.n(), samples.d_out()) * squares,
          static_cast<double>(correct) / static_cast<double>(samples.n()), std::sqrt(squares)};
}

}  // namespace zeroloss
