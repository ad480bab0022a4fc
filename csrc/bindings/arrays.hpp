// The array types of the bindings, and their conversion to the array types of the core. Only the bindings include
// pybind11.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <stdexcept>
#include <string>

#include "../core/types.hpp"

namespace zeroloss {

namespace py = pybind11;

/// A C-contiguous array of exactly T. Anything else raises a TypeError; nothing is copied silently.
template <class T>
using Array = py::array_t<T, py::array::c_style>;

inline std::string shape_text(const py::array& array) {
  std::string text = "(";
  for (py::ssize_t axis = 0; axis < array.ndim(); ++axis)
    text += (axis ? ", " : "") + std::to_string(array.shape(axis));
  return text + ")";
}

inline void check_shape(const char* name, const py::array& array, Index rows, Index cols) {
  if (array.ndim() != 2 || array.shape(0) != rows || array.shape(1) != cols)
    throw std::invalid_argument(std::string(name) + ": expected shape (" + std::to_string(rows) + ", " +
                                std::to_string(cols) + "), got " + shape_text(array));
}

/// Returns the number of hidden units h of a first layer E (d_in × h).
template <class T>
Index count_units(const Array<T>& E) {
  if (E.ndim() != 2) throw std::invalid_argument("E: expected a matrix, got shape " + shape_text(E));
  return E.shape(1);
}

/// Checks and maps an argument that is only read: rows × cols.
template <class T>
ConstMatrixMap<T> read(const char* name, const Array<T>& array, Index rows, Index cols) {
  check_shape(name, array, rows, cols);
  return {array.data(), rows, cols};
}

/// Checks and maps a second layer: h × d_out, or (h + 1) × d_out with biases of the outputs.
template <class T>
ConstMatrixMap<T> read_second_layer(const char* name, const Array<T>& array, Index h, Index d_out) {
  return read(name, array, array.ndim() == 2 && array.shape(0) == h + 1 ? h + 1 : h, d_out);
}

/// Checks an argument that is changed in place and returns its data: rows × cols, writeable.
template <class T>
T* update(const char* name, Array<T>& array, Index rows, Index cols) {
  check_shape(name, array, rows, cols);
  return array.mutable_data();  // throws if the array is read-only
}

/// Checks and maps a second layer that is changed in place: h × d_out, or (h + 1) × d_out with biases of the outputs.
template <class T>
MatrixMap<T> update_second_layer(const char* name, Array<T>& array, Index h, Index d_out) {
  const Index rows = array.ndim() == 2 && array.shape(0) == h + 1 ? h + 1 : h;
  return {update(name, array, rows, d_out), rows, d_out};
}

template <class T>
Array<T> to_array(const Matrix<T>& matrix) {
  return Array<T>({matrix.rows(), matrix.cols()}, matrix.data());
}

}  // namespace zeroloss
