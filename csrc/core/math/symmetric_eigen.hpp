// Eigenvalues and eigenvectors of symmetric matrices, by Eigen. Their code takes seconds to compile. It is in a source
// of its own, which an edit of a kernel does not compile again.
#pragma once

#include <Eigen/Core>

namespace zeroloss {

/// Ascending eigenvalues, and eigenvectors of length 1 as the columns.
struct SymmetricEigen {
  Eigen::VectorXd values;
  Eigen::MatrixXd vectors;
};

SymmetricEigen symmetric_eigen(const Eigen::MatrixXd& matrix);

/// The same for the tridiagonal matrix with these entries.
SymmetricEigen tridiagonal_eigen(const Eigen::VectorXd& diagonal, const Eigen::VectorXd& off_diagonal);

}  // namespace zeroloss
