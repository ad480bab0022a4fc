// The rows of X (n × d_in): sparse, as k-hot index lists with values, or dense.
#pragma once

#include <utility>
#include <variant>
#include <vector>

#include "types.hpp"

namespace zeroloss {

/// Compressed rows: row i holds columns[starts[i] … starts[i + 1]) with their values.
template <class T>
struct SparseRows {
  std::vector<Index> starts;
  std::vector<Index> columns;
  std::vector<T> values;
  Index d_in;

  Index n() const { return static_cast<Index>(starts.size()) - 1; }

  /// Calls f(row, column, value) for each entry, row by row.
  template <class F>
  void for_each(F&& f) const {
    for (Index i = 0; i < n(); ++i)
      for (Index at = starts[static_cast<std::size_t>(i)]; at < starts[static_cast<std::size_t>(i) + 1]; ++at)
        f(i, columns[static_cast<std::size_t>(at)], values[static_cast<std::size_t>(at)]);
  }
};

template <class T>
struct DenseRows {
  Matrix<T> X;

  Index n() const { return X.rows(); }
};

template <class T>
using Rows = std::variant<SparseRows<T>, DenseRows<T>>;

/// Z = X E.  E: d_in × h, Z: n × h
template <class T>
void multiply(const SparseRows<T>& X, MatrixView<T> E, Matrix<T>& Z) {
  Z.setZero(X.n(), E.cols());
  X.for_each([&](Index i, Index j, T value) { Z.row(i) += value * E.row(j); });
}

template <class T>
void multiply(const DenseRows<T>& X, MatrixView<T> E, Matrix<T>& Z) {
  Z.noalias() = X.X * E;
}

/// gE = Xᵀ gZ.  gZ: n × h, gE: d_in × h
template <class T>
void multiply_transposed(const SparseRows<T>& X, const Matrix<T>& gZ, Matrix<T>& gE) {
  gE.setZero(X.d_in, gZ.cols());
  X.for_each([&](Index i, Index j, T value) { gE.row(j) += value * gZ.row(i); });
}

template <class T>
void multiply_transposed(const DenseRows<T>& X, const Matrix<T>& gZ, Matrix<T>& gE) {
  gE.noalias() = X.X.transpose() * gZ;
}

/// A set of samples: the rows of X and the targets Y (n × d_out).
template <class T>
struct Samples {
  Rows<T> X;
  Matrix<T> Y;

  Index n() const { return Y.rows(); }
  Index d_out() const { return Y.cols(); }
  Index d_in() const {
    if (const auto* sparse = std::get_if<SparseRows<T>>(&X)) return sparse->d_in;
    return std::get<DenseRows<T>>(X).X.cols();
  }

  void multiply(MatrixView<T> E, Matrix<T>& Z) const {
    std::visit([&](const auto& rows) { zeroloss::multiply<T>(rows, E, Z); }, X);
  }
  void multiply_transposed(const Matrix<T>& gZ, Matrix<T>& gE) const {
    std::visit([&](const auto& rows) { zeroloss::multiply_transposed<T>(rows, gZ, gE); }, X);
  }
};

}  // namespace zeroloss
