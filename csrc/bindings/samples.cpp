// Binds samples: inputs X, sparse or dense, and targets Y.
#include "bindings.hpp"

namespace zeroloss {
namespace {

template <class T>
Samples<T> sparse_samples(const Array<Index>& starts, const Array<Index>& columns, const Array<T>& values, Index d_in,
                          const Array<T>& Y, bool has_constant) {
  const auto is_valid = [&] {
    if (starts.ndim() != 1 || starts.size() < 1 || columns.ndim() != 1 || values.ndim() != 1 || Y.ndim() != 2)
      return false;
    if (columns.size() != values.size() || Y.shape(0) != starts.size() - 1) return false;
    if (starts.at(0) != 0 || starts.at(starts.size() - 1) != columns.size()) return false;
    for (py::ssize_t i = 0; i + 1 < starts.size(); ++i)
      if (starts.at(i) > starts.at(i + 1)) return false;
    for (py::ssize_t at = 0; at < columns.size(); ++at)
      if (columns.at(at) < 0 || columns.at(at) >= d_in) return false;
    return true;
  };
  if (!is_valid()) throw std::invalid_argument("starts, columns, values: not compressed rows of X for the rows of Y");
  return {SparseInputs<T>{{starts.data(), starts.data() + starts.size()},
                          {columns.data(), columns.data() + columns.size()},
                          {values.data(), values.data() + values.size()},
                          d_in},
          read("Y", Y, Y.shape(0), Y.shape(1)), has_constant};
}

template <class T>
Samples<T> dense_samples(const Array<T>& X, const Array<T>& Y, bool has_constant) {
  if (X.ndim() != 2 || Y.ndim() != 2 || X.shape(0) != Y.shape(0))
    throw std::invalid_argument("X, Y: expected matrices with a row for each sample, got " + shape_text(X) + " and " +
                                shape_text(Y));
  return {DenseInputs<T>{read("X", X, X.shape(0), X.shape(1))}, read("Y", Y, Y.shape(0), Y.shape(1)), has_constant};
}

template <class T>
void bind_samples_for(py::module_& m, const std::string& bits) {
  using TypedSamples = Samples<T>;
  py::class_<TypedSamples>(m, ("Samples" + bits).c_str(), py::module_local())
      .def(py::init(&sparse_samples<T>), py::arg("starts").noconvert(), py::arg("columns").noconvert(),
           py::arg("values").noconvert(), py::arg("d_in"), py::arg("Y").noconvert(), py::arg("has_constant") = false)
      .def(py::init(&dense_samples<T>), py::arg("X").noconvert(), py::arg("Y").noconvert(),
           py::arg("has_constant") = false);
}

}  // namespace

void bind_samples(py::module_& m) {
  bind_samples_for<float>(m, "32");
  bind_samples_for<double>(m, "64");
}

}  // namespace zeroloss
