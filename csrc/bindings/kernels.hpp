// Binds the kernels of one precision: check shapes, map, release the GIL, call, return.
#pragma once

#include <memory>

#include "../core/gradient_descent.hpp"
#include "../core/network.hpp"
#include "../core/predicted_gradient.hpp"
#include "arrays.hpp"

namespace zeroloss {

template <class T>
Samples<T> sparse_samples(const Array<Index>& starts, const Array<Index>& columns, const Array<T>& values, Index d_in,
                          const Array<T>& Y) {
  const auto ends_well = [&] {
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
  if (!ends_well()) throw std::invalid_argument("starts, columns, values: not compressed rows of X for the rows of Y");
  return {SparseRows<T>{{starts.data(), starts.data() + starts.size()},
                        {columns.data(), columns.data() + columns.size()},
                        {values.data(), values.data() + values.size()},
                        d_in},
          read("Y", Y, Y.shape(0), Y.shape(1))};
}

template <class T>
Samples<T> dense_samples(const Array<T>& X, const Array<T>& Y) {
  if (X.ndim() != 2 || Y.ndim() != 2 || X.shape(0) != Y.shape(0))
    throw std::invalid_argument("X, Y: expected matrices with a row for each sample, got " + shape_text(X) + " and " +
                                shape_text(Y));
  return {DenseRows<T>{read("X", X, X.shape(0), X.shape(1))}, read("Y", Y, Y.shape(0), Y.shape(1))};
}

template <class T>
Index units(const Array<T>& E) {
  if (E.ndim() != 2) throw std::invalid_argument("E: expected a matrix, got shape " + shape_text(E));
  return E.shape(1);
}

template <class T>
void bind_kernels(py::module_& m, const std::string& bits) {
  using Set = Samples<T>;
  py::class_<Set>(m, ("Samples" + bits).c_str(), py::module_local())
      .def(py::init(&sparse_samples<T>), py::arg("starts").noconvert(), py::arg("columns").noconvert(),
           py::arg("values").noconvert(), py::arg("d_in"), py::arg("Y").noconvert())
      .def(py::init(&dense_samples<T>), py::arg("X").noconvert(), py::arg("Y").noconvert());

  m.def(
      "hidden",
      [](const Set& samples, const Array<T>& E, Activation activation) {
        const auto e = read("E", E, samples.d_in(), units(E));
        Matrix<T> H, S;
        {
          py::gil_scoped_release release;
          hidden<T>(samples, e, activation, H, S);
        }
        return py::make_tuple(to_array(H), to_array(S));
      },
      py::arg("samples"), py::arg("E").noconvert(), py::arg("activation"));

  m.def(
      "loss_and_gradient",
      [](const Set& samples, const Array<T>& E, const Array<T>& W, Activation activation, SquaredError loss) {
        const auto e = read("E", E, samples.d_in(), units(E));
        const auto w = read("W", W, units(E), samples.d_out());
        Matrix<T> gE, gW;
        double value;
        {
          py::gil_scoped_release release;
          value = loss_and_gradient<T>(samples, e, w, activation, loss, gE, gW);
        }
        return py::make_tuple(value, to_array(gE), to_array(gW));
      },
      py::arg("samples"), py::arg("E").noconvert(), py::arg("W").noconvert(), py::arg("activation"), py::arg("loss"));

  m.def(
      "evaluate",
      [](const Set& samples, const Array<T>& E, const Array<T>& W, Activation activation, SquaredError loss) {
        const auto e = read("E", E, samples.d_in(), units(E));
        const auto w = read("W", W, units(E), samples.d_out());
        Evaluation found;
        {
          py::gil_scoped_release release;
          found = evaluate<T>(samples, e, w, activation, loss);
        }
        return py::make_tuple(found.loss, found.accuracy, found.residual);
      },
      py::arg("samples"), py::arg("E").noconvert(), py::arg("W").noconvert(), py::arg("activation"), py::arg("loss"));

  m.def(
      "frobenius_norm",
      [](const Array<T>& A) {
        Eigen::Map<const Eigen::Matrix<T, Eigen::Dynamic, 1>> entries(A.data(), A.size());
        return entries.template cast<double>().norm();
      },
      py::arg("A").noconvert());

  using Descending = Descent<T>;
  py::class_<Descending>(m, ("Descent" + bits).c_str(), py::module_local())
      .def(py::init([](const Set& samples, Activation activation, SquaredError loss, double lr, double weight_decay,
                       double momentum, Index hidden, int threads) {
             const Step<T> step{static_cast<T>(lr), static_cast<T>(weight_decay), static_cast<T>(momentum)};
             return std::make_unique<Descending>(samples, activation, loss, step, hidden, Team(threads));
           }),
           py::arg("samples"), py::arg("activation"), py::arg("loss"), py::arg("lr"), py::arg("weight_decay"),
           py::arg("momentum"), py::arg("hidden"), py::arg("threads"))
      .def(
          "advance",
          [](Descending& self, Array<T>& E, Array<T>& W, Array<T>& velocity_E, Array<T>& velocity_W, Index steps) {
            T* const e = update("E", E, self.d_in(), self.h());
            T* const w = update("W", W, self.h(), self.d_out());
            T* const ve = update("velocity_E", velocity_E, self.d_in(), self.h());
            T* const vw = update("velocity_W", velocity_W, self.h(), self.d_out());
            py::gil_scoped_release release;
            self.advance(e, w, ve, vw, steps);
          },
          py::arg("E").noconvert(), py::arg("W").noconvert(), py::arg("velocity_E").noconvert(),
          py::arg("velocity_W").noconvert(), py::arg("steps"));

  using Predicted = PredictedGradient<T>;
  py::class_<Predicted>(m, ("PredictedGradient" + bits).c_str(), py::module_local())
      .def(py::init([](const Set& samples, Activation activation, double ridge, Index hidden, int threads) {
             return std::make_unique<Predicted>(samples, activation, static_cast<T>(ridge), hidden, Team(threads));
           }),
           py::arg("samples"), py::arg("activation"), py::arg("ridge"), py::arg("hidden"), py::arg("threads"))
      .def(
          "evaluate",
          [](Predicted& self, const Array<T>& E) -> py::object {
            const auto e = read("E", E, self.d_in(), self.h());
            Array<T> dE({self.d_in(), self.h()}), W({self.h(), self.d_out()});
            T *const to_dE = dE.mutable_data(), *const to_W = W.mutable_data();
            FactorStatus status;
            {
              py::gil_scoped_release release;
              status = self.direction(e.data(), to_dE, to_W);
            }
            if (!status.ok()) return py::none();
            return py::make_tuple(dE, W);
          },
          py::arg("E").noconvert())
      .def("cost", &Predicted::cost)
      .def("condition", &Predicted::condition, py::call_guard<py::gil_scoped_release>())
      .def(
          "advance",
          [](Predicted& self, Array<T>& E, double step_size, Index steps) {
            T* const e = update("E", E, self.d_in(), self.h());
            py::gil_scoped_release release;
            return self.advance(e, static_cast<T>(step_size), steps).steps;
          },
          py::arg("E").noconvert(), py::arg("step_size"), py::arg("steps"));
}

}  // namespace zeroloss
