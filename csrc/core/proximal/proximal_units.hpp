// The problem of each hidden unit, given a multiplier Λ (n × d_out) of the constraints σ(X E) W = Y: minimise
// ½‖E_u − c^E_u‖² + ½‖W_u − c^W_u‖² − Σ_i σ(x_i · E_u) (W_u · Λ_i) over its column E_u and row W_u. The conditions are
//   E_u = c^E_u + Σ_i s_iu g_iu x_i,  W_u = c^W_u + Σ_i σ(z_iu) Λ_i,  g_iu = W_u · Λ_i,  s_iu ∈ ∂σ(z_iu).
// For σ(z) = a z + b max(z, 0), s = a + b τ. A pair (i, u) is on (z > 0, τ = 1), off (z < 0, τ = 0) or pinned (z = 0,
// 0 < τ < 1). It can be pinned only if b g < 0, which makes its term convex. Otherwise it is on or off.
#pragma once

#include <algorithm>
#include <atomic>

#include "../geometry/jacobian.hpp"
#include "../geometry/kink_constraints.hpp"

namespace zeroloss {

/// a and b of an activation a z + b max(z, 0). All other activations have no kink; for them, b = 0.
struct Kink {
  bool piecewise_linear;
  double a, b;

  explicit Kink(Activation activation) : piecewise_linear(true), a(0), b(1) {
    switch (activation.kind) {
      case ActivationKind::relu:
        break;
      case ActivationKind::leaky_relu:
        a = activation.parameter;
        b = 1 - a;
        break;
      case ActivationKind::identity:
        a = 1;
        b = 0;
        break;
      default:
        piecewise_linear = false;
        a = b = 0;
    }
  }
};

/// The state of the units.
struct ProximalPoint {
  Parameters theta;
  Matrix<double> T;  ///< τ, n × h
};

/// Solves the problems of all units, with workspace.
class ProximalUnits {
 public:
  ProximalUnits(const Samples<double>& samples, Activation activation, Team team = Team())
      : samples_(samples), activation_(activation), kink_(activation), team_(team), squares_(samples.n()) {
    Eigen::VectorXd x(samples.d_in());
    std::visit(
        [&](const auto& inputs) {
          for (Index i = 0; i < samples.n(); ++i) {
            dense_row(inputs, i, x);
            squares_[i] = x.squaredNorm();
          }
        },
        samples.X);
  }

  /// Moves `point` to a point that satisfies the conditions of all units, to `tolerance` in the entries of θ. Each turn
  /// makes coordinate sweeps over τ (each update has a closed form) and then computes W. Returns false if the units do
  /// not settle.
  ///
  /// A pair with b g > 0 can be at z = 0 if other pairs pin it there, because their x_i span its x_i. On and off are
  /// then both stationary, but the unit's function may decrease on one side. With `leave_corners`, the other side is
  /// tried as well: for each such pair, then for all that are on together, then for all that are off together.
  bool solve(const Parameters& c, const Matrix<double>& multiplier, double tolerance, ProximalPoint& point,
             bool leave_corners) {
    Parameters& theta = point.theta;
    trials_left_ = leave_corners && kink_.piecewise_linear && kink_.b != 0;
    if (trials_left_) {
      flipped_.setZero(point.T.rows(), point.T.cols());
      stage_.assign(static_cast<std::size_t>(point.T.cols()), 0);
    }
    settled_ = true;
    for (int turn = 0; turn < max_turns_; ++turn) {
      trials_allowed_ = turn < max_turns_ / 2;
      const Index h = theta.E.cols();
      multiply_by_rows(team_, multiplier, theta.W.topRows(h).transpose(), G_);
      double change = kink_.piecewise_linear ? sweep_first_layer(c, tolerance, point) : move_first_layer(c, theta);
      W_.resize(c.W.rows(), c.W.cols());
      if (W_.rows() > h) W_.row(h) = c.W.row(h) + multiplier.colwise().sum();
      for_blocks(team_, h, [&](Index begin, Index length) {
        W_.middleRows(begin, length) = c.W.middleRows(begin, length);
        W_.middleRows(begin, length).noalias() += H_.middleCols(begin, length).transpose() * multiplier;
      });
      change = std::max(change, (W_ - theta.W).cwiseAbs().maxCoeff());
      theta.W.swap(W_);
      if (!(change < divergent_)) return false;
      if (change <= tolerance && !trials_left_) return true;
    }
    return false;
  }

  static bool is_pinned(double tau) { return tau > 0 && tau < 1; }

 private:
  static constexpr int max_turns_ = 200, sweeps_a_turn_ = 4;
  static constexpr double divergent_ = 1e100;
  static constexpr double zero_ = 100;  // |z| up to this many tolerances is rounding error of the sweeps

  /// E = c + Xᵀ(S ⊙ G) with the slopes S at the old E. Computes H at the new E. Returns the largest change.
  double move_first_layer(const Parameters& c, Parameters& theta) {
    hidden(team_, samples_, theta.E, activation_, H_, &S_);
    for_blocks(team_, G_.rows(), [&](Index begin, Index length) {
      G_.middleRows(begin, length).array() *= S_.middleRows(begin, length).array();
    });
    samples_.multiply_transposed(team_, G_, E_);
    E_ += c.E;
    const double change = (E_ - theta.E).cwiseAbs().maxCoeff();
    theta.E.swap(E_);
    hidden(team_, samples_, theta.E, activation_, H_);
    return change;
  }

  /// Computes E and τ for fixed g by sweeps over the samples, then H at the new E. Returns the largest change.
  double sweep_first_layer(const Parameters& c, double tolerance, ProximalPoint& point) {
    Matrix<double>& E = point.theta.E;
    if (settled_) switch_concave(point, tolerance);
    forces_.resize(G_.rows(), G_.cols());
    for_blocks(team_, G_.rows(), [&](Index begin, Index length) {
      const auto slopes = kink_.a + kink_.b * point.T.middleRows(begin, length).array();
      forces_.middleRows(begin, length) = G_.middleRows(begin, length).cwiseProduct(slopes.matrix());
    });
    samples_.multiply_transposed(team_, forces_, E);
    E += c.E;
    const Index h = E.cols();
    z_.resize(h);
    changes_.resize(h);
    double change = 0;
    if (kink_.b != 0)
      for (int sweep = 0; sweep < sweeps_a_turn_; ++sweep) {
        for_blocks(team_, h, [&](Index begin, Index length) {
          changes_.segment(begin, length).setZero();
          std::visit([&](const auto& inputs) { this->sweep(inputs, begin, length, E, point.T); }, samples_.X);
        });
        const double moved = changes_.maxCoeff();
        if (sweep == 0) change = moved;
        settled_ = moved <= 10 * tolerance;
        if (moved <= tolerance) break;
      }
    H_.resize(G_.rows(), h);
    for_blocks(team_, H_.rows(), [&](Index begin, Index length) {
      samples_.multiply_rows(E, begin, length, H_);
      const double* const tau = point.T.data() + begin * h;
      double* const H = H_.data() + begin * h;
      for (Index entry = 0; entry < length * h; ++entry) {
        const double z = H[entry], value = kink_.a * z + kink_.b * (z > 0 ? z : 0);
        H[entry] = tau[entry] > 0 && tau[entry] < 1 ? 0 : value;
      }
    });
    return change;
  }

  /// Linearises the concave terms, so that a turn decreases the unit's function. A pair with b g ≥ 0 is on or off by
  /// the sign of z at the old E. At z = 0 it stays on its side, or moves to the nearer one.
  void switch_concave(ProximalPoint& point, double tolerance) {
    const double zero = zero_ * tolerance;
    const Index h = point.T.cols();
    H_.resize(G_.rows(), h);
    for_blocks(team_, H_.rows(), [&](Index begin, Index length) {
      samples_.multiply_rows(point.theta.E, begin, length, H_);
      double* const tau = point.T.data() + begin * h;
      const double* const z = H_.data() + begin * h;
      const double* const G = G_.data() + begin * h;
      for (Index entry = 0; entry < length * h; ++entry) {
        const double sign = z[entry] > 0 ? 1 : 0, nearer = tau[entry] >= 0.5 ? 1 : 0;
        const double next = z[entry] > zero || z[entry] < -zero ? sign : nearer;
        tau[entry] = kink_.b * G[entry] < 0 ? tau[entry] : next;
      }
    });
    if (trials_left_) try_other_sides(point, zero);
  }

  /// Ends the current trial of each unit and begins the next one. Pairs that are still at z = 0 are flipped back. At z
  /// = 0 both sides are linearisations of the concave term, so the flip does not increase the unit's function.
  void try_other_sides(ProximalPoint& point, double zero) {
    std::atomic<bool> trials_left = false;
    for_blocks(team_, H_.cols(), [&](Index begin, Index length) {
      if (try_other_sides(point, zero, begin, begin + length)) trials_left.store(true, std::memory_order_relaxed);
    });
    trials_left_ = trials_left;
  }

  /// The same for the units [first, end). Returns whether a trial has begun.
  bool try_other_sides(ProximalPoint& point, double zero, Index first, Index end) {
    bool any_trial_started = false;
    const Index n = H_.rows();
    const auto is_at_corner = [&](Index i, Index u) {
      return kink_.b * G_(i, u) > 0 && std::abs(H_(i, u)) <= zero && squares_[i] > 0;
    };
    for (Index u = first; u < end; ++u) {
      Index& stage = stage_[static_cast<std::size_t>(u)];
      if (stage == n + 2) continue;
      Index on_count = 0, off_count = 0;
      for (Index i = 0; i < n; ++i) {
        const bool is_corner = is_at_corner(i, u);
        if (flipped_(i, u) && is_corner) point.T(i, u) = 1 - point.T(i, u);
        flipped_(i, u) = 0;
        if (is_corner) ++(point.T(i, u) > 0 ? on_count : off_count);
      }
      const auto change = [&](Index i) {
        point.T(i, u) = 1 - point.T(i, u);
        flipped_(i, u) = 1;
      };
      bool trial_started = false;
      for (; trials_allowed_ && stage < n + 2 && !trial_started; ++stage) {
        if (stage < n) {
          if ((trial_started = is_at_corner(stage, u))) change(stage);
        } else if (const bool flip_on = stage == n; (flip_on ? on_count : off_count) > 1) {
          for (Index i = 0; i < n; ++i)
            if (is_at_corner(i, u) && (point.T(i, u) > 0) == flip_on) change(i);
          trial_started = true;
        }
      }
      any_trial_started = any_trial_started || trial_started;
    }
    return any_trial_started;
  }

  /// Makes a sweep for the units [first, first + count).
  void sweep(const SparseInputs<double>& X, Index first, Index count, Matrix<double>& E, Matrix<double>& T) {
    double* const z = z_.data() + first;
    for (Index i = 0; i < X.n(); ++i) {
      const auto begin = static_cast<std::size_t>(X.starts[static_cast<std::size_t>(i)]);
      const auto end = static_cast<std::size_t>(X.starts[static_cast<std::size_t>(i) + 1]);
      std::fill_n(z, count, 0.0);
      for (std::size_t entry = begin; entry < end; ++entry)
        add_multiple(X.values[entry], E.row(X.columns[entry]).data() + first, z, count);
      update_tau(i, first, count, T);
      for (std::size_t entry = begin; entry < end; ++entry)
        add_multiple(X.values[entry], z, E.row(X.columns[entry]).data() + first, count);
    }
  }

  void sweep(const DenseInputs<double>& X, Index first, Index count, Matrix<double>& E, Matrix<double>& T) {
    auto z = z_.segment(first, count);
    auto columns = E.middleCols(first, count);
    for (Index i = 0; i < X.n(); ++i) {
      z.noalias() = X.X.row(i) * columns;
      update_tau(i, first, count, T);
      columns.noalias() += X.X.row(i).transpose() * z;
    }
  }

  /// Updates τ of sample i for the units [first, first + count) from their z_. Writes their changes times b g to z_.
  void update_tau(Index i, Index first, Index count, Matrix<double>& T) {
    const Index begin = i * T.cols() + first;
    const double b = kink_.b, square = squares_[i];
    double* const __restrict tau = T.data() + begin;
    double* const __restrict z = z_.data() + first;
    double* const __restrict changes = changes_.data() + first;
    const double* const __restrict G = G_.data() + begin;
    for (Index u = 0; u < count; ++u) {
      const double bg = b * G[u], pull = bg * square, remainder = z[u] - tau[u] * pull;
      const double pinned = remainder / -pull;  // the solution if it is between 0 and 1 and pull < 0
      const double convex = remainder <= 0 ? 0 : remainder + pull >= 0 ? 1 : pinned;
      const double next = pull < 0 ? convex : tau[u];
      const double change = (next - tau[u]) * bg;
      const double size = change < 0 ? -change : change;
      changes[u] = size > changes[u] ? size : changes[u];
      z[u] = change;
      tau[u] = next;
    }
  }

  const Samples<double>& samples_;
  Activation activation_;
  Kink kink_;
  Team team_;
  bool settled_ = true, trials_left_ = false, trials_allowed_ = false;
  Eigen::Matrix<unsigned char, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> flipped_;  // n × h: pairs of the trial
  std::vector<Index> stage_;  // next trial of each unit: each of n samples, all that are on, all that are off
  Eigen::VectorXd squares_;
  Matrix<double> G_, H_, S_, E_, W_, forces_;
  Eigen::RowVectorXd z_, changes_;
};

}  // namespace zeroloss
