// The array types of the core. Shapes are written with the letters of the paper: n samples, d_in inputs, h hidden
// units, d_out outputs.
#pragma once

#include <Eigen/Core>

namespace zeroloss {

using Index = Eigen::Index;

template <class T>
using Matrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// An array of the caller, row-major and contiguous, used without a copy.
template <class T>
using MatrixMap = Eigen::Map<Matrix<T>>;
template <class T>
using ConstMatrixMap = Eigen::Map<const Matrix<T>>;

/// A matrix argument that is only read: a Matrix, a map, or rows of either.
template <class T>
using MatrixView = Eigen::Ref<const Matrix<T>, 0, Eigen::OuterStride<>>;

}  // namespace zeroloss
