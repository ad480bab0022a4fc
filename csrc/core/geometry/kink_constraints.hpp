// Kink constraints. A pair (i, u) is pinned if its pre-activation z_iu = x_i · E_u stays at the kink z = 0 of the
// activation. Each pinned pair is a linear constraint x_i · v_u = 0 on column u of the first layer of a tangent vector
// v.
// Python entry: python/zeroloss/geometry/tangent.py. Test: tests/test_kink_constraints.py.
#pragma once

#include <vector>

#include "pair_constraints.hpp"

namespace zeroloss {

/// Copies row i of X to x (d_in).
inline void dense_row(const SparseInputs<double>& X, Index i, Eigen::VectorXd& x) {
  x.setZero();
  for (Index entry = X.starts[static_cast<std::size_t>(i)]; entry < X.starts[static_cast<std::size_t>(i) + 1]; ++entry)
    x[X.columns[static_cast<std::size_t>(entry)]] += X.values[static_cast<std::size_t>(entry)];
}

inline void dense_row(const DenseInputs<double>& X, Index i, Eigen::VectorXd& x) { x = X.X.row(i); }

/// The constraints of all units: an orthonormal basis for each unit, or a graph if each sample is a sum of two inputs.
/// The constraints of a unit may be dependent.
class KinkConstraints {
 public:
  explicit KinkConstraints(const Samples<double>& samples, Team team = Team())
      : samples_(samples),
        team_(team),
        input_pairs_(std::visit([](const auto& inputs) { return find_input_pairs(inputs); }, samples.X)) {}

  /// Pins the pairs (i, u) of h units for which is_pinned(i, u) is true.
  template <class IsPinned>
  void assign(Index h, IsPinned&& is_pinned) {
    blocks_.resize(static_cast<std::size_t>(ceil_div(h, units_)));
    for_blocks(team_, h, units_, [&](Index first, Index count) {
      Block& block = blocks_[static_cast<std::size_t>(first / units_)];
      block.clear(samples_.d_in());
      if (!input_pairs_.empty()) return block.assign_graphs(input_pairs_, first, count, is_pinned);
      std::visit([&](const auto& inputs) { block.assign_bases(inputs, first, count, is_pinned); }, samples_.X);
    });
  }

  /// V ← P V, V: d_in × h. P projects each column u onto the vectors that are orthogonal to the x_i of its pinned
  /// pairs.
  void project(Matrix<double>& V) const;
  /// The same for `count` units from `first` on, V: d_in × count with rows that are `step` entries apart. Units from
  /// one multiple of 48 to the next are in one block.
  void project_units(Index first, Index count, double* V, Index step) const;

  Index count() const {
    return sum([](const Block& block) { return block.count; });
  }  ///< number of pinned pairs
  Index rank() const {
    return sum([](const Block& block) { return block.rank; });
  }  ///< number of independent constraints

 private:
  static constexpr Index units_ = 48;         // units in a block: whole panels at every level
  static constexpr double dependent_ = 1e-8;  // bound on the share of a row outside the span of other rows

  struct Unit {
    Index u, begin;  ///< `begin` is its first row of `basis` or its first member
    Index rank;
  };

  /// A block of units.
  struct Block {
    Index d_in = 0, count = 0, rank = 0;
    std::vector<Unit> pinned_units;
    std::vector<double> basis;                     // rank × d_in, unit by unit
    std::vector<PairConstraints::Member> members;  // d_in for each pinned unit

    void clear(Index inputs) {
      d_in = inputs;
      count = rank = 0;
      pinned_units.clear();
      basis.clear();
      members.clear();
    }

    template <class Inputs, class IsPinned>
    void assign_bases(const Inputs& inputs, Index first, Index units, const IsPinned& is_pinned) {
      Eigen::VectorXd x(d_in);
      for (Index u = first; u < first + units; ++u) {
        const Index begin = rank;
        for (Index i = 0; i < inputs.n(); ++i)
          if (is_pinned(i, u)) {
            ++count;
            dense_row(inputs, i, x);
            if (rank - begin < d_in) extend(begin, x);
          }
        if (rank > begin) pinned_units.push_back({u, begin, rank - begin});
      }
    }

    template <class IsPinned>
    void assign_graphs(const std::vector<InputPair>& pairs, Index first, Index units, const IsPinned& is_pinned) {
      PairConstraints graph(d_in);
      for (Index u = first; u < first + units; ++u) {
        graph.clear();
        for (std::size_t i = 0; i < pairs.size(); ++i)
          if (is_pinned(static_cast<Index>(i), u)) {
            ++count;
            graph.add(pairs[i]);
          }
        if (graph.rank() == 0) continue;
        rank += graph.rank();
        pinned_units.push_back({u, static_cast<Index>(members.size()), graph.rank()});
        graph.append_to(members);
      }
    }

    ConstMatrixMap<double> basis_rows(Index begin, Index size) const {
      return {basis.data() + begin * d_in, size, d_in};
    }

    /// Adds the part of x outside the span of the basis vectors from `begin` on, by two passes of Gram–Schmidt.
    void extend(Index begin, Eigen::VectorXd& x);
  };

  template <class Count>
  Index sum(Count&& count_block) const {
    Index total = 0;
    for (const Block& block : blocks_) total += count_block(block);
    return total;
  }

  const Samples<double>& samples_;
  Team team_;
  std::vector<InputPair> input_pairs_;  // of the samples, or empty
  std::vector<Block> blocks_;
};

}  // namespace zeroloss
