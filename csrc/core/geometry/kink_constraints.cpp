#include "kink_constraints.hpp"

namespace zeroloss {

void KinkConstraints::project(Matrix<double>& V) const {
  for_blocks(team_, static_cast<Index>(blocks_.size()), 1, [&](Index first, Index) {
    const Block& block = blocks_[static_cast<std::size_t>(first)];
    Eigen::VectorXd column, components;
    for (const Unit& unit : block.pinned_units) {
      const auto B = block.basis_rows(unit.begin, unit.rank);
      column = V.col(unit.u);
      components.noalias() = B * column;
      column.noalias() -= B.transpose() * components;
      V.col(unit.u) = column;
    }
  });
}

void KinkConstraints::Block::extend(Index begin, Eigen::VectorXd& x) {
  const double length = x.norm();
  const auto B = basis_rows(begin, rank() - begin);
  for (int pass = 0; pass < 2; ++pass) {
    const Eigen::VectorXd components = B * x;
    x.noalias() -= B.transpose() * components;
  }
  const double rest = x.norm();
  if (!(rest > dependent_ * length)) return;
  x /= rest;
  basis.insert(basis.end(), x.data(), x.data() + x.size());
}

}  // namespace zeroloss
