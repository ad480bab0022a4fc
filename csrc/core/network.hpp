// The two-layer network F = σ(X E) W: forward and backward, as they are defined.
// The dynamics have faster kernels of their own; these serve single evaluations and records.
#pragma once

#include <limits>

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
    Index answer, target;
    F.row(i).maxCoeff(&answer);
    samples.Y.row(i).maxCoeff(&target);
    correct += answer == target;
  }
  const double squares = (F - samples.Y).template cast<double>().squaredNorm();
  return {loss.scale(samples.n(), samples.d_out()) * squares,
          static_cast<double>(correct) / static_cast<double>(samples.n()), std::sqrt(squares)};
}

}  // namespace zeroloss
