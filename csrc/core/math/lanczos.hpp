// The largest eigenvalue of a symmetric operator by the Lanczos iteration. Python entries:
// python/zeroloss/geometry/spectrum.py, python/zeroloss/curvature/eigenvalues.py. Tests: tests/test_geometry.py,
// tests/test_curvature.py.
#pragma once

#include <functional>

#include "../types.hpp"

namespace zeroloss {

struct LargestEigenvalue {
  double value;     ///< a lower bound
  double accuracy;  ///< the residual divided by the largest |Ritz value|, which is the value if all are positive
};

/// Computes the largest eigenvalue. `apply` replaces a vector by its image. The residual bounds the distance to an
/// eigenvalue; the iteration ends when it is at most `accuracy` times the largest |Ritz value|, or after
/// `max_iterations`. The value is usually far more accurate: its error is the residual's square over the gap to the
/// next eigenvalue. The start is fixed. `eigenvector` gets length 1; it may be null. If an image is not finite, the
/// results are NaN.
LargestEigenvalue largest_eigenvalue(Index size, double accuracy, Index max_iterations,
                                     const std::function<void(Eigen::VectorXd&)>& apply,
                                     Eigen::VectorXd* eigenvector = nullptr);

}  // namespace zeroloss
