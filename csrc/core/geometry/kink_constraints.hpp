// Kink constraints. A pair (i, u) is pinned if its pre-activation z_iu = x_i · E_u stays at the kink z = 0 of the
// activation. Each pinned pair is a linear constraint x_i · v_u = 0 on column u of the first layer of a tangent vector
// v.
// Python entry: python/zeroloss/geometry/tangent.py. Test: tests/test_kink_constraints.py.
#pragma once

#include <vector>

#include "../network/inputs.hpp"

namespace zeroloss {

/// Copies row i of X to x (d_in).
inline void dense_row(const SparseInputs<double>& X, Index i, Eigen::VectorXd& x) {
  x.setZero();
  for (Index entry = X.starts[static_cast<std::size_t>(i)]; entry < X.starts[static_cast<std::size_t>(i) + 1]; ++entry)
    x[X.columns[static_cast<std::size_t>(entry)]] += X.values[static_cast<std::size_t>(entry)];
}

inline void dense_row(const DenseInputs<double>& X, Index i, Eigen::VectorXd& x) { x = X.X.row(i); }

/// The constraints of all units: an orthonormal basis for each unit. The constraints of a unit may be dependent.
class KinkConstraints {
 public:
  explicit KinkConstraints(const Samples<double>& samples, Team team = Team()) : samples_(samples), team_(team) {}

  /// Pins the pairs (i, u) of h units for which is_pinned(i, u) is true.
  template <class IsPinned>
  void assign(Index h, IsPinned&& is_pinned) {
    blocks_.resize(static_cast<std::size_t>(ceil_div(h, units_)));
    for_blocks(team_, h, units_, [&](Index first, Index count) {
      Block& block = blocks_[static_cast<std::size_t>(first / units_)];
      block.clear(samples_.d_in());
      std::visit(
          [&](const auto& inputs) {
            Eigen::VectorXd x(samples_.d_in());
            for (Index u = first; u < first + count; ++u) {
              const Index begin = block.rank();
              for (Index i = 0; i < samples_.n(); ++i)
                if (is_pinned(i, u)) {
                  ++block.count;
                  dense_row(inputs, i, x);
                  if (block.rank() - begin < samples_.d_in()) block.extend(begin, x);
                }
              if (block.rank() > begin) block.pinned_units.push_back({u, begin, block.rank() - begin});
            }
          },
          samples_.X);
    });
  }

  /// V ← P V, V: d_in × h. P projects each column u onto the vectors that are orthogonal to the x_i of its pinned
  /// pairs.
  void project(Matrix<double>& V) const;

  Index count() const {
    return sum([](const Block& block) { return block.count; });
  }  ///< number of pinned pairs
  Index rank() const {
    return sum([](const Block& block) { return block.rank(); });
  }  ///< number of independent constraints

 private:
  static constexpr Index units_ = 64;         // units in a block
  static constexpr double dependent_ = 1e-8;  // bound on the share of a row outside the span of other rows

  struct Unit {
    Index u, begin, rank;
  };

  /// A block of units.
  struct Block {
    Index d_in = 0, count = 0;
    std::vector<Unit> pinned_units;
    std::vector<double> basis;  // rank × d_in, unit by unit

    Index rank() const { return static_cast<Index>(basis.size()) / d_in; }

    void clear(Index inputs) {
      d_in = inputs;
      count = 0;
      pinned_units.clear();
      basis.clear();
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
  std::vector<Block> blocks_;
};

}  // namespace zeroloss
