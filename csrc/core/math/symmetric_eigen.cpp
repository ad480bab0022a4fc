#include "symmetric_eigen.hpp"

#include <Eigen/Eigenvalues>

namespace zeroloss {

using Solver = Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd>;

SymmetricEigen symmetric_eigen(const Eigen::MatrixXd& matrix) {
  const Solver solver(matrix);
  return {solver.eigenvalues(), solver.eigenvectors()};
}

SymmetricEigen tridiagonal_eigen(const Eigen::VectorXd& diagonal, const Eigen::VectorXd& off_diagonal) {
  Solver solver;
  solver.computeFromTridiagonal(diagonal, off_diagonal);
  return {solver.eigenvalues(), solver.eigenvectors()};
}

}  // namespace zeroloss
