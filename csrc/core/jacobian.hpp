// The Jacobian J = ∂F/∂θ of the outputs F = σ(X E) W, by its products alone: it is never stored.
// J is n·d_out × d; its row i·d_out + k is output k of sample i, so that an n × d_out row-major matrix is a vector of
// rows.
#pragma once

#include <cmath>

#include "network.hpp"

namespace zeroloss {

/// A point θ = (E, W), or a vector of its tangent space.  E: d_in × h, W: h × d_out
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

class Jacobian {
 public:
  Jacobian(const Samples<double>& samples, Activation activation) : samples_(samples), activation_(activation) {}

  /// Goes to (E: d_in × h, W: h × d_out).
  void move(MatrixView<double> E, MatrixView<double> W) {
    hidden<double>(samples_, E, activation_, H_, S_);
    W_ = W;
  }

  /// F − Y, n × d_out.
  void residual(Matrix<double>& R) const {
    R = -samples_.Y;
    R.noalias() += H_ * W_;
  }

  /// R = J v = ((X v_E) ⊙ σ'(Z)) W + H v_W, n × d_out: one forward pass.
  void multiply(const Parameters& v, Matrix<double>& R) {
    multiply_first(v.E, R);
    R.noalias() += H_ * v.W;
  }

  /// v = Jᵀ R = (Xᵀ((R Wᵀ) ⊙ σ'(Z)), Hᵀ R): one backward pass.
  void multiply_transposed(const Matrix<double>& R, Parameters& v) {
    multiply_first_transposed(R, v.E);
    v.W.noalias() = H_.transpose() * R;
  }

  /// R = J v and v = Jᵀ R of the first layer alone.
  void multiply_first(const Matrix<double>& v_E, Matrix<double>& R) {
    samples_.multiply(v_E, G_);
    G_.array() *= S_.array();
    R.noalias() = G_ * W_;
  }
  void multiply_first_transposed(const Matrix<double>& R, Matrix<double>& v_E) {
    G_.noalias() = R * W_.transpose();
    G_.array() *= S_.array();
    samples_.multiply_transposed(G_, v_E);
  }

  const Samples<double>& samples() const { return samples_; }
  Index rows() const { return samples_.n() * samples_.d_out(); }
  const Matrix<double>& H() const { return H_; }  ///< σ(Z), n × h
  const Matrix<double>& S() const { return S_; }  ///< σ'(Z), n × h
  const Matrix<double>& W() const { return W_; }

 private:
  const Samples<double>& samples_;
  Activation activation_;
  Matrix<double> H_, S_, W_, G_;
};

}  // namespace zeroloss
