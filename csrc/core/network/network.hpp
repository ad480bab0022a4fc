// The two-layer network F = H W, H = σ(Z), Z = X E, evaluated as it is defined: outputs, loss (Eqs. 1, 12), gradients
// and the numbers of a record. Steps of the dynamics use the faster kernels of descent/ and predicted_gradient/.
// Shapes: X n × d_in, E d_in × h, W h × d_out, F and Y n × d_out. Biases are rows of the layers: hidden biases are the
// last row of E (see Samples), and biases of the outputs are a further row of W, (h + 1) × d_out.
// Python entry: loss_and_gradient in python/zeroloss/dynamics/evaluation.py. Test: tests/test_loss_and_gradient.py.
#pragma once

#include <algorithm>
#include <cmath>

#include "../../linalg/sums.hpp"
#include "../types.hpp"
#include "activation.hpp"
#include "cross_entropy.hpp"
#include "inputs.hpp"
#include "loss.hpp"
#include "record.hpp"

namespace zeroloss {

/// Computes H = σ(X E) and, in the second form, S = σ'(X E), both n × h.
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

/// The same on a team of threads, in float64. S may be null.
inline void hidden(const Team& team, const Samples<double>& samples, MatrixView<double> E, Activation activation,
                   Matrix<double>& H, Matrix<double>* S = nullptr) {
  H.resize(samples.n(), E.cols());
  if (S) S->resize(samples.n(), E.cols());
  for_blocks(team, samples.n(), [&](Index begin, Index length) {
    samples.multiply_rows(E, begin, length, H);
    double* const h = &H(begin, 0);
    const auto count = static_cast<std::size_t>(length * H.cols());
    if (S)
      activate(activation, h, h, &(*S)(begin, 0), count);
    else
      activate(activation, h, h, count);
  });
}

/// F = H W; with biases of the outputs, F = H W[:h] + 1 W[h].
template <class T, class Output>
void multiply_hidden(const Matrix<T>& H, MatrixView<T> W, Output&& F) {
  F.noalias() = H * W.topRows(H.cols());
  if (W.rows() > H.cols()) F.rowwise() += W.row(H.cols());
}

/// Computes F = σ(X E) W (n × d_out), one block of samples at a time: H takes little memory.
template <class T>
void outputs(const Samples<T>& samples, MatrixView<T> E, MatrixView<T> W, Activation activation, MatrixMap<T> F) {
  Matrix<T> H;
  for (Index begin = 0; begin < samples.n(); begin += block_size) {
    const Index length = std::min(block_size, samples.n() - begin);
    H.resize(length, E.cols());
    samples.multiply_rows(E, begin, length, H.data());
    activate(activation, H.data(), H.data(), static_cast<std::size_t>(H.size()));
    multiply_hidden<T>(H, W, F.middleRows(begin, length));
  }
}

/// Returns the loss of the outputs F (n × d_out) and replaces F by G = ∂loss/∂F.
template <class T>
double loss_of_outputs(const Matrix<T>& Y, Loss loss, Matrix<T>& F) {
  const double c = loss.scale(Y.rows(), Y.cols());
  if (loss.kind == LossKind::cross_entropy) return cross_entropy(Y, c, loss.temperature, F);
  F -= Y;
  const double value = c * sum_of_squares(F.data(), F.size());
  F *= static_cast<T>(2 * c);
  return value;
}

/// Returns the loss at (E: d_in × h, W: h × d_out) and computes its gradients:
///   G = ∂loss/∂F,  gW = Hᵀ G,  gE = Xᵀ ((G Wᵀ) ⊙ σ'(Z)).
/// For biases of the outputs, the last row of gW is the sum of the rows of G.
template <class T>
double loss_and_gradient(const Samples<T>& samples, MatrixView<T> E, MatrixView<T> W, Activation activation, Loss loss,
                         Matrix<T>& gE, Matrix<T>& gW) {
  Matrix<T> H, S;
  hidden(samples, E, activation, H, S);
  const Index h = E.cols();
  Matrix<T> G(samples.n(), W.cols());
  multiply_hidden<T>(H, W, G);
  const double value = loss_of_outputs(samples.Y, loss, G);
  gW.resize(W.rows(), W.cols());
  gW.topRows(h).noalias() = H.transpose() * G;
  if (W.rows() > h) gW.row(h) = G.colwise().sum();
  Matrix<T> gZ = G * W.topRows(h).transpose();
  gZ.array() *= S.array();
  samples.multiply_transposed(gZ, gE);
  return value;
}

/// Evaluates θ on some samples.
template <class T>
Evaluation evaluate(const Samples<T>& samples, MatrixView<T> E, MatrixView<T> W, Activation activation, Loss loss) {
  if (samples.n() == 0) return {};
  Matrix<T> H;
  hidden(samples, E, activation, H);
  Matrix<T> F(samples.n(), W.cols());
  multiply_hidden<T>(H, W, F);
  Index correct = 0;
  for (Index i = 0; i < F.rows(); ++i) {
    const T *outputs = &F(i, 0), *targets = &samples.Y(i, 0);
    correct += std::max_element(outputs, outputs + F.cols()) - outputs ==
               std::max_element(targets, targets + F.cols()) - targets;
  }
  const Matrix<T> residual = F - samples.Y;
  const double squares = sum_of_squares(residual.data(), residual.size());
  const double c = loss.scale(samples.n(), samples.d_out());
  return {loss.kind == LossKind::cross_entropy ? cross_entropy(samples.Y, c, loss.temperature, F) : c * squares,
          static_cast<double>(correct) / static_cast<double>(samples.n()), std::sqrt(squares)};
}

/// Makes the record of θ.
template <class T>
Record describe(const Samples<T>& train, const Samples<T>& test, MatrixView<T> E, MatrixView<T> W,
                Activation activation, Loss loss) {
  const auto squares = [](MatrixView<T> A, Index begin, Index rows) {
    return sum_of_squares(A.data() + begin * A.cols(), rows * A.cols());
  };
  const Index d_in = E.rows() - train.has_constant, h = E.cols();
  return make_record(evaluate(train, E, W, activation, loss), evaluate(test, E, W, activation, loss),
                     std::sqrt(squares(E, 0, d_in)), std::sqrt(squares(W, 0, h)),
                     std::sqrt(squares(E, d_in, train.has_constant) + squares(W, h, W.rows() - h)));
}

}  // namespace zeroloss
