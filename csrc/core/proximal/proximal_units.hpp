// Solves the problems of all hidden units, which unit_group.hpp describes. The units are independent and take very
// different numbers of turns. So the units that have not finished are divided into groups anew every few turns.
#pragma once

#include <atomic>
#include <numeric>
#include <vector>

#include "../geometry/kink_constraints.hpp"
#include "unit_group.hpp"

namespace zeroloss {

/// Solves the problems of all units, with workspace.
class ProximalUnits {
 public:
  ProximalUnits(const Samples<double>& samples, Activation activation, Team team = Team())
      : problem_{samples, activation, Kink(activation), Eigen::VectorXd(samples.n()), spread_order(samples.n())},
        team_(team),
        groups_(static_cast<std::size_t>(team.size())) {
    Eigen::VectorXd x(samples.d_in());
    std::visit(
        [&](const auto& inputs) {
          for (Index i = 0; i < samples.n(); ++i) {
            dense_row(inputs, i, x);
            problem_.squares[i] = x.squaredNorm();
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
    const Index n = point.T.rows(), h = point.T.cols();
    const bool has_kink = problem_.kink.piecewise_linear && problem_.kink.b != 0;
    problem_.tolerance = tolerance;
    if (multiplier_.count() != multiplier.cols())
      multiplier_ = PanelMatrix<double>(multiplier.cols(), round_up(n, tile_rows<double>));
    multiplier_.assign_rows(multiplier.data(), n);
    UnitProgress start;
    start.on_trial = leave_corners && has_kink;
    progress_.assign(static_cast<std::size_t>(h), start);
    if (start.on_trial) flipped_.setZero(h, n);
    if (c.W.rows() > h) point.theta.W.row(h) = c.W.row(h) + multiplier.colwise().sum();
    unfinished_.resize(static_cast<std::size_t>(h));
    std::iota(unfinished_.begin(), unfinished_.end(), Index{0});
    std::atomic<bool> divergent = false;
    for (int turn = 0; turn < max_turns_ && !divergent && !unfinished_.empty(); turn += turns_a_round_) {
      const bool trials_allowed = turn < max_turns_ / 2;
      for_blocks(team_, static_cast<Index>(unfinished_.size()), UnitGroup::width,
                 [&](Index first, Index count, int member) {
                   UnitGroup& group = groups_[static_cast<std::size_t>(member)];
                   group.copy_in(problem_, unfinished_.data() + first, count, c, point);
                   for (int i = 0; i < turns_a_round_; ++i)
                     if (!group.take_turn(problem_, multiplier_, trials_allowed, flipped_, progress_)) {
                       divergent.store(true, std::memory_order_relaxed);
                       break;
                     }
                   group.copy_out(point);
                 });
      std::erase_if(unfinished_, [&](Index u) { return progress_[static_cast<std::size_t>(u)].finished; });
    }
    return !divergent && unfinished_.empty();
  }

  static bool is_pinned(double tau) { return tau > 0 && tau < 1; }

 private:
  /// Returns an order in which neighbouring samples come far apart. Neighbours often share inputs, and then an update
  /// has to wait for the one before.
  static std::vector<Index> spread_order(Index n) {
    std::vector<Index> order(static_cast<std::size_t>(n));
    Index stride = std::max<Index>(1, static_cast<Index>(0.382 * static_cast<double>(n)));
    while (std::gcd(stride, n) != 1) ++stride;
    for (Index k = 0; k < n; ++k) order[static_cast<std::size_t>(k)] = k * stride % n;
    return order;
  }

  static constexpr int max_turns_ = 200, turns_a_round_ = 4;

  UnitGroup::Problem problem_;
  Team team_;
  std::vector<UnitGroup> groups_;  // one for each member of the team
  std::vector<UnitProgress> progress_;
  std::vector<Index> unfinished_;
  UnitGroup::Flags flipped_;        // h × n: pairs of the trial
  PanelMatrix<double> multiplier_;  // n × d_out
};

}  // namespace zeroloss
