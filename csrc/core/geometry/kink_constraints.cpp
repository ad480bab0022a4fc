#include "kink_constraints.hpp"

namespace zeroloss {

void KinkConstraints::project(Matrix<double>& V) const {
  for_blocks(team_, V.cols(), units_,
             [&](Index first, Index count) { project_units(first, count, V.data() + first, V.cols()); });
}

void KinkConstraints::project_units(Index first, Index count, double* V, Index step) const {
  const Block& block = blocks_[static_cast<std::size_t>(first / units_)];
  using Stride = Eigen::InnerStride<>;
  Eigen::VectorXd column, components(block.d_in);
  for (const Unit& unit : block.pinned_units) {
    if (unit.u < first || unit.u >= first + count) continue;
    if (!input_pairs_.empty()) {
      PairConstraints::project(block.members.data() + unit.begin, block.d_in, V + unit.u - first, step,
                               components.data());
      continue;
    }
    const auto B = block.basis_rows(unit.begin, unit.rank);
    const Stride stride(step);
    Eigen::Map<Eigen::VectorXd, 0, Stride> strided(V + unit.u - first, block.d_in, stride);
    column = strided;
    components.noalias() = B * column;
    column.noalias() -= B.transpose() * components;
    strided = column;
  }
}

void KinkConstraints::Block::extend(Index begin, Eigen::VectorXd& x) {
  const double length = x.norm();
  const auto B = basis_rows(begin, rank - begin);
  for (int pass = 0; pass < 2; ++pass) {
    const Eigen::VectorXd components = B * x;
    x.noalias() -= B.transpose() * components;
  }
  const double rest = x.norm();
  if (!(rest > dependent_ * length)) return;
  x /= rest;
  basis.insert(basis.end(), x.data(), x.data() + x.size());
  ++rank;
}

}  // namespace zeroloss
