#include "inputs.hpp"

namespace zeroloss {

namespace {

/// y ← y + a x, both of `count` entries.
template <class T>
void add_multiple(T a, const T* __restrict x, T* __restrict y, Index count) {
  for (Index u = 0; u < count; ++u) y[u] += a * x[u];
}

/// Z = X E for the rows [begin, begin + count) of X.  E: d_in × h, Z: count × h
template <class T>
void multiply_rows(const SparseInputs<T>& X, MatrixView<T> E, Index begin, Index count, MatrixMap<T> Z) {
  Z.setZero();
  X.for_each(begin, begin + count, [&](Index i, Index j, T value) {
    add_multiple(value, E.row(j).data(), Z.row(i - begin).data(), Z.cols());
  });
}

template <class T>
void multiply_rows(const DenseInputs<T>& X, MatrixView<T> E, Index begin, Index count, MatrixMap<T> Z) {
  Z.noalias() = X.X.middleRows(begin, count) * E;
}

/// Computes the columns [begin, begin + count) of gE = Xᵀ gZ.  gZ: n × h, gE: d_in × h
template <class T>
void multiply_transposed_columns(const SparseInputs<T>& X, const Matrix<T>& gZ, Index begin, Index count,
                                 Matrix<T>& gE) {
  gE.middleCols(begin, count).setZero();
  X.for_each(0, X.n(), [&](Index i, Index j, T value) {
    add_multiple(value, gZ.row(i).data() + begin, gE.row(j).data() + begin, count);
  });
}

template <class T>
void multiply_transposed_columns(const DenseInputs<T>& X, const Matrix<T>& gZ, Index begin, Index count,
                                 Matrix<T>& gE) {
  gE.middleCols(begin, count).noalias() = X.X.transpose() * gZ.middleCols(begin, count);
}

}  // namespace

template <class T>
void Samples<T>::multiply_rows(MatrixView<T> E, Index begin, Index count, T* Z) const {
  const MatrixMap<T> output(Z, count, E.cols());
  std::visit([&](const auto& inputs) { zeroloss::multiply_rows<T>(inputs, E, begin, count, output); }, X);
}

template <class T>
void Samples<T>::multiply_transposed_columns(const Matrix<T>& gZ, Index begin, Index count, Matrix<T>& gE) const {
  std::visit([&](const auto& inputs) { zeroloss::multiply_transposed_columns<T>(inputs, gZ, begin, count, gE); }, X);
}

template struct Samples<float>;
template struct Samples<double>;

}  // namespace zeroloss
