// The inputs X (n × d_in), stored as sparse or dense rows, and their products X E and Xᵀ gZ. Python entry:
// python/zeroloss/datasets/dataset.py.
#pragma once

#include <utility>
#include <variant>
#include <vector>

#include "../math/blocks.hpp"
#include "../types.hpp"

namespace zeroloss {

/// Compressed rows: the entries of row i are columns[starts[i] … starts[i + 1]) with their values.
template <class T>
struct SparseInputs {
  std::vector<Index> starts;
  std::vector<Index> columns;
  std::vector<T> values;
  Index d_in;

  Index n() const { return static_cast<Index>(starts.size()) - 1; }

  /// Calls f(row, column, value) for each entry of the rows [begin, end), row by row.
  template <class F>
  void for_each(Index begin, Index end, F&& f) const {
    for (Index i = begin; i < end; ++i)
      for (Index entry = starts[static_cast<std::size_t>(i)]; entry < starts[static_cast<std::size_t>(i) + 1]; ++entry)
        f(i, columns[static_cast<std::size_t>(entry)], values[static_cast<std::size_t>(entry)]);
  }
};

template <class T>
struct DenseInputs {
  Matrix<T> X;

  Index n() const { return X.rows(); }
};

template <class T>
using Inputs = std::variant<SparseInputs<T>, DenseInputs<T>>;

/// Samples: the inputs X (n × d_in) and the targets Y (n × d_out). If the hidden units have biases, the last column of
/// X is the constant 1, and the last row of E holds the biases.
template <class T>
struct Samples {
  Inputs<T> X;
  Matrix<T> Y;
  bool has_constant = false;  // whether the last input is the constant of the hidden biases

  Index n() const { return Y.rows(); }
  Index d_out() const { return Y.cols(); }
  Index d_in() const {
    if (const auto* sparse = std::get_if<SparseInputs<T>>(&X)) return sparse->d_in;
    return std::get<DenseInputs<T>>(X).X.cols();
  }

  /// Z = X E
  void multiply(MatrixView<T> E, Matrix<T>& Z) const {
    Z.resize(n(), E.cols());
    multiply_rows(E, 0, n(), Z.data());
  }
  /// Computes the rows [begin, begin + count) of Z = X E. Z already has its size, n × h.
  void multiply_rows(MatrixView<T> E, Index begin, Index count, Matrix<T>& Z) const {
    multiply_rows(E, begin, count, Z.data() + begin * Z.cols());
  }
  /// The same, with room for these rows only: Z is count × h.
  void multiply_rows(MatrixView<T> E, Index begin, Index count, T* Z) const;
  /// gE = Xᵀ gZ
  void multiply_transposed(const Matrix<T>& gZ, Matrix<T>& gE) const {
    gE.resize(d_in(), gZ.cols());
    multiply_transposed_columns(gZ, 0, gZ.cols(), gE);
  }
  /// The same on a team of threads.
  void multiply_transposed(const Team& team, const Matrix<T>& gZ, Matrix<T>& gE) const {
    gE.resize(d_in(), gZ.cols());
    for_blocks(team, gZ.cols(), [&](Index begin, Index count) { multiply_transposed_columns(gZ, begin, count, gE); });
  }
  /// Computes the columns [begin, begin + count) of gE = Xᵀ gZ. gE already has its size, d_in × h.
  void multiply_transposed_columns(const Matrix<T>& gZ, Index begin, Index count, Matrix<T>& gE) const;
};

extern template struct Samples<float>;
extern template struct Samples<double>;

}  // namespace zeroloss
