// The Jacobian J = ∂F/∂θ of the outputs F = σ(X E) W. It is never stored; only products with it are computed. J is
// n·d_out × d with d = d_in·h + h·d_out. Its row i·d_out + k is output k of sample i, so a row-major n × d_out matrix
// is a vector with an entry for each row of J. With biases of the outputs, W has a further row and H a further column
// of ones: W is (h + 1) × d_out, and the part of J for the last row is the identity for each sample. A layer that is
// not trained is a constant: its columns of J are zero.
#pragma once

#include <cmath>

#include "../network/network.hpp"

namespace zeroloss {

/// A point θ = (E, W) or a vector with the same shapes.  E: d_in × h, W: h × d_out
struct Parameters {
  Matrix<double> E, W;

  double dot(const Parameters& other) const { return E.cwiseProduct(other.E).sum() + W.cwiseProduct(other.W).sum(); }
  double norm() const { return std::sqrt(E.squaredNorm() + W.squaredNorm()); }
  Parameters& operator-=(const Parameters& other) {
    E -= other.E;
    W -= other.W;
    return *this;
  }
};

/// The Jacobian at the point of the last `move`.
class Jacobian {
 public:
  Jacobian(const Samples<double>& samples, Activation activation, Team team = Team(), bool trains_E = true,
           bool trains_W = true)
      : samples_(samples), activation_(activation), team_(team), trains_E_(trains_E), trains_W_(trains_W) {}

  /// Moves to (E: d_in × h, W: h × d_out).
  void move(MatrixView<double> E, MatrixView<double> W) {
    hidden(team_, samples_, E, activation_, H_, &S_);
    if (!trains_E_) S_.setZero();
    W_ = W.topRows(E.cols());
    c_ = W.bottomRows(W.rows() - E.cols());
  }

  /// R = F − Y, n × d_out.
  void residual(Matrix<double>& R) const {
    R.resize(rows() / samples_.d_out(), samples_.d_out());
    for_blocks(team_, R.rows(), [&](Index begin, Index length) {
      R.middleRows(begin, length) = -samples_.Y.middleRows(begin, length);
      add_readout(W_, c_, begin, length, R);
    });
  }

  /// R = J v = ((X v_E) ⊙ σ'(Z)) W + H v_W, n × d_out: one forward pass.
  void multiply(const Parameters& v, Matrix<double>& R) {
    const Index h = H_.cols();
    G_.resize(H_.rows(), h);
    R.resize(H_.rows(), W_.cols());
    for_blocks(team_, G_.rows(), [&](Index begin, Index length) {
      samples_.multiply_rows(v.E, begin, length, G_);
      auto G = G_.middleRows(begin, length);
      G.array() *= S_.middleRows(begin, length).array();
      R.middleRows(begin, length).noalias() = G * W_;
      if (trains_W_) add_readout(v.W.topRows(h), v.W.bottomRows(v.W.rows() - h), begin, length, R);
    });
  }

  /// v = Jᵀ R = (Xᵀ((R Wᵀ) ⊙ σ'(Z)), Hᵀ R): one backward pass.
  void multiply_transposed(const Matrix<double>& R, Parameters& v) {
    G_.resize(H_.rows(), H_.cols());
    for_blocks(team_, G_.rows(), [&](Index begin, Index length) {
      auto G = G_.middleRows(begin, length);
      G.noalias() = R.middleRows(begin, length) * W_.transpose();
      G.array() *= S_.middleRows(begin, length).array();
    });
    samples_.multiply_transposed(team_, G_, v.E);
    if (!trains_W_) {
      v.W.setZero(W_.rows() + c_.rows(), W_.cols());
      return;
    }
    if (!has_output_biases()) return multiply_by_rows(team_, H_.transpose(), R, v.W);
    multiply_by_rows(team_, H_.transpose(), R, readout_);
    v.W.resize(readout_.rows() + 1, readout_.cols());
    v.W << readout_, R.colwise().sum();
  }

  /// Sets the parts of v for layers that are not trained to zero.
  void clear_constants(Parameters& v) const {
    if (!trains_E_) v.E.setZero();
    if (!trains_W_) v.W.setZero();
  }

  const Samples<double>& samples() const { return samples_; }
  Index rows() const { return samples_.n() * samples_.d_out(); }
  bool has_output_biases() const { return c_.rows() > 0; }

  /// Computes the lower triangle of the readout's part of J Jᵀ for one output, H Hᵀ with the column of ones: n × n.
  template <class Output>
  void readout_gram(Output&& K) const {
    if (!trains_W_) {
      K.setZero();
      return;
    }
    multiply_by_own_transpose(team_, H_, K);
    if (has_output_biases()) K.array() += 1;
  }
  const Matrix<double>& H() const { return H_; }  ///< σ(Z), n × h
  const Matrix<double>& S() const { return S_; }  ///< σ'(Z), n × h; 0 if E is not trained
  const Matrix<double>& W() const { return W_; }  ///< without biases

 private:
  /// Adds rows of H W + 1 c to R.
  template <class Weights, class Biases>
  void add_readout(const Weights& W, const Biases& c, Index begin, Index length, Matrix<double>& R) const {
    R.middleRows(begin, length).noalias() += H_.middleRows(begin, length) * W;
    if (c.rows() > 0) R.middleRows(begin, length).rowwise() += c.row(0);
  }

  const Samples<double>& samples_;
  Activation activation_;
  Team team_;
  bool trains_E_, trains_W_;
  Matrix<double> H_, S_, W_, G_;
  Matrix<double> c_;  // 1 × d_out, or without rows
  Matrix<double> readout_;
};

}  // namespace zeroloss
