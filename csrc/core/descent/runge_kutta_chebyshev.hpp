// Stabilised explicit steps along the gradient flow θ' = f(θ) = −∇loss − wd θ, beyond the paper: the second-order
// Runge–Kutta–Chebyshev method of Sommeijer, Shampine and Verwer, "RKC: an explicit solver for parabolic PDEs", J.
// Comput. Appl. Math. 88 (1998) 315–326. With m stages a step of size h is stable up to h λ = 0.65 (m² − 1), where λ is
// the largest eigenvalue of the Hessian. The stages of a step from Y₀ = θ are
//   Y₁ = Y₀ + μ̃₁ h f(Y₀),  Y_j = (1 − μ_j − ν_j) Y₀ + μ_j Y_{j−1} + ν_j Y_{j−2} + μ̃_j h f(Y_{j−1}) + γ̃_j h f(Y₀).
// Y_{j−1} + μ̃_j h f(Y_{j−1}) is a plain step of gradient descent at the rate μ̃_j h, so each stage uses that kernel.
// Python entry: python/zeroloss/dynamics/chebyshev.py. Test: tests/test_gradient_flow.py.
#pragma once

#include <cmath>
#include <vector>

#include "../math/blocks.hpp"
#include "gradient_descent.hpp"

namespace zeroloss {

/// The coefficients of a step with m ≥ 2 stages.
class ChebyshevCoefficients {
 public:
  struct Stage {
    double mu, nu, mu_tilde, gamma_tilde;
  };

  explicit ChebyshevCoefficients(Index m) {
    const double w0 = 1 + damping_ / (static_cast<double>(m) * static_cast<double>(m));
    std::vector<double> T{1, w0}, dT{0, 1}, ddT{0, 0};  // the Chebyshev polynomials and their derivatives at w0
    for (std::size_t j = 2; j <= static_cast<std::size_t>(m); ++j) {
      T.push_back(2 * w0 * T[j - 1] - T[j - 2]);
      dT.push_back(2 * T[j - 1] + 2 * w0 * dT[j - 1] - dT[j - 2]);
      ddT.push_back(4 * dT[j - 1] + 2 * w0 * ddT[j - 1] - ddT[j - 2]);
    }
    const double w1 = dT.back() / ddT.back();
    const auto b = [&](std::size_t j) { return j < 2 ? ddT[2] / (dT[2] * dT[2]) : ddT[j] / (dT[j] * dT[j]); };
    first_ = b(1) * w1;
    for (std::size_t j = 2; j <= static_cast<std::size_t>(m); ++j) {
      const double mu_tilde = 2 * b(j) * w1 / b(j - 1), a = 1 - b(j - 1) * T[j - 1];
      stages_.push_back({2 * b(j) * w0 / b(j - 1), -b(j) / b(j - 2), mu_tilde, -a * mu_tilde});
    }
  }

  double first() const { return first_; }                       ///< μ̃₁
  const std::vector<Stage>& stages() const { return stages_; }  ///< from the second stage on

 private:
  static constexpr double damping_ = 2.0 / 13;
  double first_;
  std::vector<Stage> stages_;
};

/// The tolerances of a step: the root mean square over parameters of error / (absolute + relative |θ|) is at most 1.
struct StepTolerances {
  double relative, absolute;
};

/// Takes steps of the flow, with workspace.
class RungeKuttaChebyshev {
 public:
  RungeKuttaChebyshev(const Samples<double>& samples, Activation activation, Loss loss, double weight_decay, Index h,
                      bool trains_E, bool trains_W, bool has_output_biases, Team team = Team())
      : team_(team),
        descent_(samples, {SparseInputs<double>{{0}, {}, {}, samples.d_in()}, Matrix<double>(0, samples.d_out())},
                 activation, loss,
                 {.rule = Rule::sgd,
                  .lr = 1,
                  .weight_decay_E = weight_decay,
                  .weight_decay_W = weight_decay,
                  .momentum = 0,
                  .trains_E = trains_E,
                  .trains_W = trains_W},
                 NormControl(), h, has_output_biases, team),
        start_(start_like()),
        slope_(start_like()),
        last_(start_like()),
        earlier_(start_like()),
        trains_{trains_E, trains_W, trains_W},
        size_(static_cast<double>(trains_E * samples.d_in() * h +
                                  trains_W * samples.d_out() * (h + has_output_biases))) {}

  /// Takes a step of size h with m stages from θ, at which f is `slope`. Replaces θ and `slope` by their values after
  /// the step. Returns the estimated error in units of the tolerance; it may be infinite or NaN.
  double step(Layers<double> theta, Layers<double> slope, double h, Index m, StepTolerances tolerances) {
    const FlushDenormals flush;
    const ChebyshevCoefficients coefficients(m);
    const bool negated = descent_.stores_negated_E();
    start_.load_from(theta, negated);
    slope_.load_from(slope, negated);
    earlier_.load_from(theta, negated);
    LayerStrips<double>& Y = descent_.strips();
    Y.load_from(theta, negated);
    const double first = coefficients.first() * h;
    combine(Y, [first](auto, auto, auto, auto y0, auto f0) { return y0 + broadcast(first) * f0; });
    for (const auto& stage : coefficients.stages()) {
      copy_to_last(Y);
      descent_.step(stage.mu_tilde * h);
      const Vector<double> a = broadcast(stage.mu - 1), b = broadcast(stage.nu);
      const Vector<double> c = broadcast(1 - stage.mu - stage.nu), d = broadcast(stage.gamma_tilde * h);
      combine(Y, [=](auto y, auto y1, auto y2, auto y0, auto f0) { return y + a * y1 + b * y2 + c * y0 + d * f0; });
      std::swap(earlier_, last_);
    }
    copy_to_last(Y);
    descent_.step(first);  // from Y to Y + first · f(Y)
    const double error = finish(Y, h, first, tolerances);
    last_.store_to(theta, negated);
    slope_.store_to(slope, negated);
    return error;
  }

  Index d_in() const { return descent_.d_in(); }
  Index d_out() const { return descent_.d_out(); }
  Index h() const { return descent_.h(); }
  Index W_rows() const { return descent_.h() + descent_.biases().outputs; }

 private:
  static constexpr Index block_ = 1 << 14;  // parameters in a task

  LayerStrips<double> start_like() const {
    return {true, descent_.d_in(), descent_.h(), descent_.d_out(), descent_.biases()};
  }

  /// y ← f(y, Y_{j−1}, Y_{j−2}, Y₀, f(Y₀)) for all parameters, one register at a time.
  template <class F>
  void combine(LayerStrips<double>& Y, F&& f) {
    for (std::size_t layer = 0; layer < 3; ++layer) {
      if (!trains_[layer]) continue;
      double* const y = Y.arrays()[layer]->data();
      const double *const y1 = last_.arrays()[layer]->data(), *const y2 = earlier_.arrays()[layer]->data();
      const double *const y0 = start_.arrays()[layer]->data(), *const f0 = slope_.arrays()[layer]->data();
      for_blocks(team_, Y.arrays()[layer]->size(), block_, [&](Index begin, Index length) {
        for (Index i = begin; i < begin + length; i += lanes<double>)
          store(y + i, f(load(y + i), load(y1 + i), load(y2 + i), load(y0 + i), load(f0 + i)));
      });
    }
    descent_.moved();
  }

  void copy_to_last(LayerStrips<double>& Y) {
    for (std::size_t layer = 0; layer < 3; ++layer)
      std::copy_n(Y.arrays()[layer]->data(), Y.arrays()[layer]->size(), last_.arrays()[layer]->data());
  }

  /// Computes f at the end of the step, from its parameters last_ and from Y = last_ + rate f, into slope_. Returns the
  /// error 0.8 (Y₀ − Y) + 0.4 h (f(Y₀) + f(Y)) in units of the tolerance.
  double finish(LayerStrips<double>& Y, double h, double rate, StepTolerances tolerances) {
    double sum = 0;
    for (std::size_t layer = 0; layer < 3; ++layer) {
      if (!trains_[layer]) continue;
      const double *const moved = Y.arrays()[layer]->data(), *const end = last_.arrays()[layer]->data();
      const double* const begin = start_.arrays()[layer]->data();
      double* const slope = slope_.arrays()[layer]->data();
      for (Index i = 0; i < Y.arrays()[layer]->size(); ++i) {
        const double after = (moved[i] - end[i]) / rate;
        const double error = 0.8 * (begin[i] - end[i]) + 0.4 * h * (slope[i] + after);
        const double scale = tolerances.absolute + tolerances.relative * std::max(std::abs(begin[i]), std::abs(end[i]));
        sum += (error / scale) * (error / scale);
        slope[i] = after;
      }
    }
    return std::sqrt(sum / size_);
  }

  Team team_;
  Descent<double> descent_;
  LayerStrips<double> start_, slope_, last_, earlier_;  // Y₀, f(Y₀), Y_{j−1}, Y_{j−2}
  std::array<bool, 3> trains_;                          // whether E, W and c are trained
  double size_;                                         // the number of trained parameters
};

}  // namespace zeroloss
