#include "lanczos.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "symmetric_eigen.hpp"

namespace zeroloss {

LargestEigenvalue largest_eigenvalue(Index size, double accuracy, Index max_iterations,
                                     const std::function<void(Eigen::VectorXd&)>& apply, Eigen::VectorXd* eigenvector) {
  max_iterations = std::min(max_iterations, size);
  Eigen::MatrixXd Q(size, max_iterations);
  Eigen::VectorXd diagonal(max_iterations), off_diagonal(max_iterations), v(size);
  std::uint64_t state = 1;  // a linear congruential generator gives the same start at every call
  for (Index i = 0; i < size; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    v[i] = static_cast<double>(state >> 11) * 0x1p-53 - 0.5;
  }
  v.normalize();
  for (Index m = 0;; ++m) {
    Q.col(m) = v;
    apply(v);
    diagonal[m] = v.dot(Q.col(m));
    for (int pass = 0; pass < 2; ++pass) {  // twice is enough to keep Q orthogonal
      const Eigen::VectorXd components = Q.leftCols(m + 1).transpose() * v;
      v.noalias() -= Q.leftCols(m + 1) * components;
    }
    off_diagonal[m] = v.norm();
    if (!std::isfinite(off_diagonal[m])) {
      if (eigenvector) *eigenvector = v;
      constexpr double nan = std::numeric_limits<double>::quiet_NaN();
      return {nan, nan};
    }
    const bool complete =
        off_diagonal[m] <= std::numeric_limits<double>::epsilon() * std::abs(diagonal[m]) || m + 1 == size;
    if (const bool last = complete || m + 1 == max_iterations;
        last || m % 3 == 2) {                                     // solving the small problem takes time
      double scale = diagonal.head(m + 1).cwiseAbs().maxCoeff();  // the solver's thresholds are absolute
      if (m > 0) scale = std::max(scale, off_diagonal.head(m).maxCoeff());
      if (scale == 0) scale = 1;
      const SymmetricEigen ritz = tridiagonal_eigen(diagonal.head(m + 1) / scale, off_diagonal.head(m) / scale);
      const double value = scale * ritz.values[m], largest = std::max(value, -scale * ritz.values[0]);
      const double residual = complete ? 0 : off_diagonal[m] * std::abs(ritz.vectors(m, m));
      if (last || residual <= accuracy * largest) {
        if (eigenvector) *eigenvector = Q.leftCols(m + 1) * ritz.vectors.col(m);
        return {value, residual == 0 ? 0 : residual / largest};
      }
    }
    v /= off_diagonal[m];
  }
}

}  // namespace zeroloss
