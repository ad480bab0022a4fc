// The problem of each hidden unit, given a multiplier Λ (n × d_out) of the constraints σ(X E) W = Y: minimise
// ½‖E_u − c^E_u‖² + ½‖W_u − c^W_u‖² − Σ_i σ(x_i · E_u) (W_u · Λ_i) over its column E_u and row W_u. The conditions are
//   E_u = c^E_u + Σ_i s_iu g_iu x_i,  W_u = c^W_u + Σ_i σ(z_iu) Λ_i,  g_iu = W_u · Λ_i,  s_iu ∈ ∂σ(z_iu).
// For σ(z) = a z + b max(z, 0), s = a + b τ. A pair (i, u) is on (z > 0, τ = 1), off (z < 0, τ = 0) or pinned (z = 0,
// 0 < τ < 1). It can be pinned only if b g < 0, which makes its term convex. Otherwise it is on or off.
#pragma once

#include <algorithm>

#include "../../linalg/panels.hpp"
#include "../geometry/jacobian.hpp"

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

/// How far the iterations of a unit have come.
struct UnitProgress {
  bool settled = true;    ///< whether the last sweep hardly changed τ
  bool on_trial = false;  ///< whether the other side of a corner is being tried
  bool finished = false;
  Index next_trial = 0;  ///< each of n samples, all that are on, all that are off
};

/// A panel of units, copied to contiguous memory, and iterations on them. Columns beyond the last unit hold zeros.
class UnitGroup {
 public:
  static constexpr Index width = panel_width<double>;
  using Columns = Eigen::Matrix<double, Eigen::Dynamic, width, Eigen::RowMajor>;
  using Flags = Eigen::Matrix<unsigned char, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

  /// The problem, the same for all units.
  struct Problem {
    const Samples<double>& samples;
    Activation activation;
    Kink kink;
    Eigen::VectorXd squares;   // ‖x_i‖²
    std::vector<Index> order;  // of the samples in a sweep
    double tolerance = 0;
  };

  /// Copies the units u = units[0], units[1], … in, `count` of them.
  void copy_in(const Problem& problem, const Index* units, Index count, const Parameters& c,
               const ProximalPoint& point) {
    units_ = units;
    count_ = count;
    gather(c.E, cE_);
    gather(point.theta.E, E_);
    gather(point.T, T_);
    const Index d_out = c.W.cols();
    cW_.setZero(d_out, width);
    W_.setZero(d_out, width);
    for (Index lane = 0; lane < count; ++lane) {
      cW_.col(lane) = c.W.row(units[lane]);
      W_.col(lane) = point.theta.W.row(units[lane]);
    }
    const Index n = problem.samples.n();
    G_.resize(n, width);
    H_.resize(n, width);
    work_.resize(n, width);
  }

  /// Copies the units back.
  void copy_out(ProximalPoint& point) const {
    scatter(E_, point.theta.E);
    scatter(T_, point.T);
    for (Index lane = 0; lane < count_; ++lane) point.theta.W.row(units_[lane]) = W_.col(lane);
  }

  /// Makes sweeps over τ for fixed g, then computes W. Marks units as finished. Returns false if they diverge. The
  /// multiplier is n × d_out.
  bool take_turn(const Problem& problem, const PanelMatrix<double>& multiplier, bool trials_allowed, Flags& flipped,
                 std::vector<UnitProgress>& progress) {
    compute_forces(multiplier);
    if (problem.kink.piecewise_linear)
      sweep_first_layer(problem, trials_allowed, flipped, progress);
    else
      move_first_layer(problem);
    compute_next_second_layer(multiplier);
    const Row moved = (next_W_ - W_).cwiseAbs().colwise().maxCoeff().cwiseMax(changes_);
    W_.swap(next_W_);
    for (Index lane = 0; lane < count_; ++lane) {
      if (!(moved[lane] < divergent_)) return false;
      UnitProgress& unit = progress_of(lane, progress);
      unit.finished = moved[lane] <= problem.tolerance && !unit.on_trial;
    }
    return true;
  }

 private:
  using Row = Eigen::Matrix<double, 1, width, Eigen::RowMajor>;
  static constexpr int sweeps_a_turn_ = 4;
  static constexpr double divergent_ = 1e100;
  static constexpr double zero_ = 100;  // |z| up to this many tolerances is rounding error of the sweeps

  void gather(const Matrix<double>& all, Columns& own) const {
    own.resize(all.rows(), width);
    for (Index row = 0; row < all.rows(); ++row) {
      for (Index lane = 0; lane < count_; ++lane) own(row, lane) = all(row, units_[lane]);
      for (Index lane = count_; lane < width; ++lane) own(row, lane) = 0;
    }
  }

  void scatter(const Columns& own, Matrix<double>& all) const {
    for (Index row = 0; row < all.rows(); ++row)
      for (Index lane = 0; lane < count_; ++lane) all(row, units_[lane]) = own(row, lane);
  }

  /// G = Λ W.
  void compute_forces(const PanelMatrix<double>& multiplier) {
    for (Index i = 0; i < G_.rows(); i += tile_rows<double>)
      with_rows<double>(G_.rows() - i, [&]<int R>() {
        Tile<double, panel_vectors, R> tile;
        for (Index g = 0; g < multiplier.panels(); ++g)
          accumulate<Operand::rows>(tile, multiplier.used(g), multiplier.panel(g) + i * width,
                                    W_.data() + g * width * width);
        for_each_vector(tile, [&](int r, int v, const Vector<double>& sum) {
          store(G_.data() + (i + r) * width + v * lanes<double>, sum);
        });
      });
  }

  /// next_W = c + Λᵀ H.
  void compute_next_second_layer(const PanelMatrix<double>& multiplier) {
    next_W_.resize(cW_.rows(), width);
    for (Index k = 0; k < cW_.rows(); k += tile_rows<double>)
      with_rows<double>(cW_.rows() - k, [&]<int R>() {
        Tile<double, panel_vectors, R> tile;
        accumulate<Operand::columns>(tile, H_.rows(), multiplier.panel(k / width) + k % width, H_.data());
        for_each_vector(tile, [&](int r, int v, const Vector<double>& sum) {
          const Index at = (k + r) * width + v * lanes<double>;
          store<double>(next_W_.data() + at, load(cW_.data() + at) + sum);
        });
      });
  }

  UnitProgress& progress_of(Index lane, std::vector<UnitProgress>& progress) const {
    return progress[static_cast<std::size_t>(units_[lane])];
  }

  /// E = c + Xᵀ(S ⊙ G) with the slopes S at the old E. Computes H at the new E, and the changes.
  void move_first_layer(const Problem& problem) {
    const auto size = static_cast<std::size_t>(H_.size());
    multiply(problem, H_);
    activate(problem.activation, H_.data(), H_.data(), work_.data(), size);
    work_.array() *= G_.array();
    next_E_ = E_;
    add_forces(problem);
    changes_ = (next_E_ - E_).cwiseAbs().colwise().maxCoeff();
    multiply(problem, H_);
    activate(problem.activation, H_.data(), H_.data(), work_.data(), size);
  }

  /// Computes E and τ for fixed g by sweeps over the samples, then H at the new E, and the changes.
  void sweep_first_layer(const Problem& problem, bool trials_allowed, Flags& flipped,
                         std::vector<UnitProgress>& progress) {
    const double a = problem.kink.a, b = problem.kink.b;
    switch_concave(problem, trials_allowed, flipped, progress);
    work_.array() = G_.array() * (a + b * T_.array());
    add_forces(problem);
    changes_.setZero();
    if (b != 0) {
      work_ = (-b * problem.squares).asDiagonal() * G_;
      work_ = work_.cwiseInverse();
      for (int sweep = 0; sweep < sweeps_a_turn_; ++sweep) {
        Row moved = Row::Zero();
        std::visit([&](const auto& inputs) { this->sweep(inputs, problem, moved); }, problem.samples.X);
        if (sweep == 0) changes_ = moved;
        for (Index lane = 0; lane < count_; ++lane)
          progress_of(lane, progress).settled = moved[lane] <= 10 * problem.tolerance;
        if (moved.maxCoeff() <= problem.tolerance) break;
      }
    }
    multiply(problem, H_);
    const Vector<double> zero{};
    for (Index entry = 0; entry < H_.size(); entry += lanes<double>) {
      const Vector<double> z = load(H_.data() + entry), tau = load(T_.data() + entry);
      const Vector<double> value = a * z + b * (z > zero ? z : zero), unpinned = tau < 1.0 ? zero : value;
      store<double>(H_.data() + entry, tau > zero ? unpinned : value);
    }
  }

  /// E = c + Xᵀ forces.
  void add_forces(const Problem& problem) {
    E_ = cE_;
    if (const auto* sparse = std::get_if<SparseInputs<double>>(&problem.samples.X))
      sparse->for_each(0, sparse->n(), [&](Index i, Index j, double x) { E_.row(j) += x * work_.row(i); });
    else
      E_.noalias() += std::get<DenseInputs<double>>(problem.samples.X).X.transpose() * work_;
  }

  /// Z = X E.
  void multiply(const Problem& problem, Columns& Z) const {
    if (const auto* sparse = std::get_if<SparseInputs<double>>(&problem.samples.X)) {
      Z.setZero();
      sparse->for_each(0, sparse->n(), [&](Index i, Index j, double x) { Z.row(i) += x * E_.row(j); });
    } else {
      Z.noalias() = std::get<DenseInputs<double>>(problem.samples.X).X * E_;
    }
  }

  /// Linearises the concave terms of the units that have settled, so that a turn decreases a unit's function. A pair
  /// with b g ≥ 0 is on or off by the sign of z at the old E. At z = 0 it stays on its side, or moves to the nearer
  /// one.
  void switch_concave(const Problem& problem, bool trials_allowed, Flags& flipped,
                      std::vector<UnitProgress>& progress) {
    Row settled = Row::Zero();
    for (Index lane = 0; lane < count_; ++lane) settled[lane] = progress_of(lane, progress).settled ? 1 : 0;
    if (settled.sum() == 0) return;
    const double bound = zero_ * problem.tolerance;
    const Vector<double> zero{}, one = broadcast(1.0);
    multiply(problem, H_);
    for (Index i = 0; i < T_.rows(); ++i)
      for (Index lane = 0; lane < width; lane += lanes<double>) {
        const Vector<double> z = load(&H_(i, lane)), tau = load(&T_(i, lane)), bg = problem.kink.b * load(&G_(i, lane));
        const Vector<double> nearer = tau >= 0.5 ? one : zero, above = z > bound ? one : nearer;
        const Vector<double> next = z < -bound ? zero : above;
        const Vector<double> moves = bg < zero ? zero : load(&settled[lane]);
        store<double>(&T_(i, lane), moves > zero ? next : tau);
      }
    for (Index lane = 0; lane < count_; ++lane)
      if (settled[lane] > 0 && progress_of(lane, progress).on_trial)
        try_other_side(problem, bound, lane, trials_allowed, flipped, progress_of(lane, progress));
  }

  /// Ends the current trial of a unit and begins the next one, if any is left. Pairs that are still at z = 0 are
  /// flipped back. At z = 0 both sides are linearisations of the concave term, so the flip does not increase the unit's
  /// function.
  void try_other_side(const Problem& problem, double zero, Index lane, bool trials_allowed, Flags& flipped,
                      UnitProgress& unit) {
    const Index n = H_.rows(), u = units_[lane];
    Index& trial = unit.next_trial;
    unit.on_trial = false;
    if (trial == n + 2) return;
    const auto is_at_corner = [&](Index i) {
      return problem.kink.b * G_(i, lane) > 0 && std::abs(H_(i, lane)) <= zero && problem.squares[i] > 0;
    };
    Index on_count = 0, off_count = 0;
    for (Index i = 0; i < n; ++i) {
      const bool is_corner = is_at_corner(i);
      if (flipped(u, i) && is_corner) T_(i, lane) = 1 - T_(i, lane);
      flipped(u, i) = 0;
      if (is_corner) ++(T_(i, lane) > 0 ? on_count : off_count);
    }
    const auto flip = [&](Index i) {
      T_(i, lane) = 1 - T_(i, lane);
      flipped(u, i) = 1;
    };
    for (; trials_allowed && trial < n + 2 && !unit.on_trial; ++trial) {
      if (trial < n) {
        if ((unit.on_trial = is_at_corner(trial))) flip(trial);
      } else if (const bool flip_on = trial == n; (flip_on ? on_count : off_count) > 1) {
        for (Index i = 0; i < n; ++i)
          if (is_at_corner(i) && (T_(i, lane) > 0) == flip_on) flip(i);
        unit.on_trial = true;
      }
    }
  }

  void sweep(const SparseInputs<double>& X, const Problem& problem, Row& moved) {
    constexpr Index step = lanes<double>;
    static_assert(width % step == 0);
    for (const Index i : problem.order) {
      const auto begin = static_cast<std::size_t>(X.starts[static_cast<std::size_t>(i)]);
      const auto end = static_cast<std::size_t>(X.starts[static_cast<std::size_t>(i) + 1]);
      for (Index lane = 0; lane < width; lane += step) {
        Vector<double> z{};
        for (std::size_t entry = begin; entry < end; ++entry) z += X.values[entry] * load(&E_(X.columns[entry], lane));
        const Vector<double> change = update_tau(problem, i, lane, z, moved);
        for (std::size_t entry = begin; entry < end; ++entry) {
          double* const row = &E_(X.columns[entry], lane);
          store<double>(row, load(row) + X.values[entry] * change);
        }
      }
    }
  }

  void sweep(const DenseInputs<double>& X, const Problem& problem, Row& moved) {
    Row z;
    for (const Index i : problem.order) {
      z.noalias() = X.X.row(i) * E_;
      for (Index lane = 0; lane < width; lane += lanes<double>)
        store<double>(z.data() + lane, update_tau(problem, i, lane, load(z.data() + lane), moved));
      E_.noalias() += X.X.row(i).transpose() * z;
    }
  }

  /// Updates τ of sample i for a register of units from their z. Returns the changes times b g.
  [[gnu::always_inline]] Vector<double> update_tau(const Problem& problem, Index i, Index lane, Vector<double> z,
                                                   Row& moved) {
    const Vector<double> zero{}, one = broadcast(1.0), tau = load(&T_(i, lane)),
                                 bg = problem.kink.b * load(&G_(i, lane));
    const Vector<double> pull = bg * problem.squares[i], remainder = z - tau * pull;
    const Vector<double> pinned = remainder * load(&work_(i, lane));  // the solution if pull < 0 and it is in [0, 1]
    const Vector<double> bounded = remainder + pull >= zero ? one : pinned;
    const Vector<double> convex = remainder <= zero ? zero : bounded;
    const Vector<double> next = pull < zero ? convex : tau;
    const Vector<double> change = (next - tau) * bg, size = change < zero ? -change : change;
    const Vector<double> largest = load(&moved[lane]);
    store<double>(&moved[lane], size > largest ? size : largest);
    store<double>(&T_(i, lane), next);
    return change;
  }

  const Index* units_ = nullptr;
  Index count_ = 0;
  Columns cE_, E_, next_E_, cW_, W_, next_W_;  // cW, W: d_out × width
  Columns T_, G_, H_, work_;                   // n × width
  Row changes_;
};

}  // namespace zeroloss
