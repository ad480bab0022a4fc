// Gradient descent with weight decay and momentum on both layers (the paper's Eq. 13, Sec. 7.1).
#pragma once

#include "../linalg/team.hpp"
#include "network.hpp"

namespace zeroloss {

struct DescentSettings {
  double lr;
  double weight_decay;
  double momentum;
};

/// θ ← θ − lr v,  v ← momentum v + ∇loss(θ) + weight_decay θ, as torch.optim.SGD defines it.
template <class T>
class Descent {
 public:
  Descent(const Samples<T>& samples, Activation activation, SquaredError loss, DescentSettings settings, Index h, Team)
      : samples_(samples), activation_(activation), loss_(loss), settings_(settings), h_(h) {}

  /// Takes steps in place.  E, velocity_E: d_in × h;  W, velocity_W: h × d_out
  void advance(T* E_, T* W_, T* vE_, T* vW_, Index steps) {
    MatrixMap<T> E(E_, d_in(), h_), W(W_, h_, d_out()), velocity_E(vE_, d_in(), h_), velocity_W(vW_, h_, d_out());
    for (Index step = 0; step < steps; ++step) {
      loss_and_gradient<T>(samples_, E, W, activation_, loss_, gE_, gW_);
      update(E, velocity_E, gE_);
      update(W, velocity_W, gW_);
    }
  }

  Index h() const { return h_; }
  Index d_in() const { return samples_.d_in(); }
  Index d_out() const { return samples_.d_out(); }

 private:
  void update(MatrixMap<T> theta, MatrixMap<T> velocity, const Matrix<T>& gradient) const {
    velocity =
        static_cast<T>(settings_.momentum) * velocity + gradient + static_cast<T>(settings_.weight_decay) * theta;
    theta -= static_cast<T>(settings_.lr) * velocity;
  }

  const Samples<T>& samples_;
  Activation activation_;
  SquaredError loss_;
  DescentSettings settings_;
  Index h_;
  Matrix<T> gE_, gW_;
};

}  // namespace zeroloss
