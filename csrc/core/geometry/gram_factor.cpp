#include "gram_factor.hpp"

#include <algorithm>
#include <cmath>

#include "../math/blocks.hpp"

namespace zeroloss {

bool GramFactor::factor(const Team& team, double least) {
  constexpr Index block = 64;
  const Index size = L_.rows();
  const double rounding = static_cast<double>(size) * std::numeric_limits<double>::epsilon();
  smallest_allowed_ = (rounding * L_.diagonal()).cwiseMin(least / 2);
  failed_pivot_ = -1;
  for (Index k = 0; k < size; k += block) {
    const Index width = std::min(block, size - k), rest = size - k - width;
    auto diagonal = L_.block(k, k, width, width);
    const auto left = L_.block(k, 0, width, k);
    if (k > 0) diagonal.triangularView<Eigen::Lower>() -= left * left.transpose();
    factor_diagonal(k, width);
    if (failed_pivot_ >= 0) break;
    const Index pieces = std::clamp<Index>(rest / 200, 1, 16);  // each piece packs `left` again
    for_blocks(team, rest, ceil_div(std::max<Index>(rest, 1), pieces), [&](Index begin, Index length) {
      const Index row = k + width + begin;
      auto below = L_.block(row, k, length, width);
      if (k > 0) below.noalias() -= L_.block(row, 0, length, k) * left.transpose();
      diagonal.transpose().triangularView<Eigen::Upper>().solveInPlace<Eigen::OnTheRight>(below);
    });
  }
  return failed_pivot_ < 0;
}

void GramFactor::solve_in_place(Eigen::Ref<Eigen::VectorXd> x) const {
  L_.triangularView<Eigen::Lower>().solveInPlace(x);
  L_.transpose().triangularView<Eigen::Upper>().solveInPlace(x);
}

void GramFactor::factor_diagonal(Index begin, Index width) {
  auto D = L_.block(begin, begin, width, width);
  for (Index j = 0; j < width; ++j) {
    const Index rest = width - j - 1;
    const double pivot = D(j, j) - D.row(j).head(j).squaredNorm();
    if (!(pivot > smallest_allowed_[begin + j])) {  // written this way, NaN fails too
      failed_pivot_ = begin + j;
      return;
    }
    D(j, j) = std::sqrt(pivot);
    if (rest == 0) return;
    D.col(j).tail(rest).noalias() -= D.block(j + 1, 0, rest, j) * D.row(j).head(j).transpose();
    D.col(j).tail(rest) /= D(j, j);
  }
}

}  // namespace zeroloss
