// Pinned pairs: pre-activations z_iu = x_i · E_u that are held at an activation's kink, z_iu = 0. Each is a linear
// constraint x_i · v_u = 0 on the column u of a tangent vector's first layer.
#pragma once

#include <vector>

#include "rows.hpp"

namespace zeroloss {

inline void dense_row(const SparseRows<double>& X, Index i, Eigen::VectorXd& x) {
  x.setZero();
  for (Index at = X.starts[static_cast<std::size_t>(i)]; at < X.starts[static_cast<std::size_t>(i) + 1]; ++at)
    x[X.columns[static_cast<std::size_t>(at)]] += X.values[static_cast<std::size_t>(at)];
}

inline void dense_row(const DenseRows<double>& X, Index i, Eigen::VectorXd& x) { x = X.X.row(i); }

/// The pinned pairs of all units, as an orthonormal basis of each unit's constraints, which may be dependent.
class Pins {
 public:
  explicit Pins(const Samples<double>& samples) : samples_(samples) {}

  /// Pins the pairs (i, u) of h units for which is_pinned(i, u).
  template <class IsPinned>
  void assign(Index h, IsPinned&& is_pinned) {
    count_ = 0;
    pinned_units_.clear();
    basis_.clear();
    std::visit(
        [&](const auto& rows) {
          x_.resize(samples_.d_in());
          for (Index u = 0; u < h; ++u) {
            const Index begin = rank();
            for (Index i = 0; i < samples_.n(); ++i)
              if (is_pinned(i, u)) {
                ++count_;
                dense_row(rows, i, x_);
                if (rank() - begin < samples_.d_in()) extend(begin);
              }
            if (rank() > begin) pinned_units_.push_back({u, begin, rank() - begin});
          }
        },
        samples_.X);
  }

  /// V ← P V, V: d_in × h: in each column u what is orthogonal to the x_i of its pinned pairs.
  void project(Matrix<double>& V) const {
    for (const Unit& unit : pinned_units_) {
      const auto B = basis(unit.begin, unit.rank);
      column_ = V.col(unit.u);
      along_.noalias() = B * column_;
      column_.noalias() -= B.transpose() * along_;
      V.col(unit.u) = column_;
    }
  }

  Index count() const { return count_; }                                              ///< of pairs
  Index rank() const { return static_cast<Index>(basis_.size()) / samples_.d_in(); }  ///< of their constraints

 private:
  struct Unit {
    Index u, begin, rank;
  };

  static constexpr double dependent_ = 1e-8;  // share of a row outside the span of others that counts as none

  ConstMatrixMap<double> basis(Index begin, Index rank) const {
    return {basis_.data() + begin * samples_.d_in(), rank, samples_.d_in()};
  }

  /// Adds to the basis vectors from `begin` on what x_ has outside their span, by Gram and Schmidt, twice.
  void extend(Index begin) {
    const double length = x_.norm();
    const auto B = basis(begin, rank() - begin);
    for (int pass = 0; pass < 2; ++pass) {
      along_.noalias() = B * x_;
      x_.noalias() -= B.transpose() * along_;
    }
    const double rest = x_.norm();
    if (!(rest > dependent_ * length)) return;
    x_ /= rest;
    basis_.insert(basis_.end(), x_.data(), x_.data() + x_.size());
  }

  const Samples<double>& samples_;
  Index count_ = 0;
  std::vector<Unit> pinned_units_;
  std::vector<double> basis_;  // rank × d_in, unit by unit
  Eigen::VectorXd x_;
  mutable Eigen::VectorXd column_, along_;
};

}  // namespace zeroloss
