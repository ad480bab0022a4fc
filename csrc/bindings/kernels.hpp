// Binds the kernels of one precision: check shapes, map, release the GIL, call, return.
#pragma once

#include "../core/gradient_descent.hpp"
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

  py::class_<Descent<T>>(m, ("Descent" + bits).c_str(), py::module_local())
      .def(
          py::init([](const Set& samples, Activation activation, SquaredError loss, double lr, double weight_decay,
                      double momentum) { return Descent<T>(samples, activation, loss, {lr, weight_decay, momentum}); }),
          py::arg("samples"), py::arg("activation"), py::arg("loss"), py::arg("lr"), py::arg("weight_decay"),
          py::arg("momentum"), py::keep_alive<1, 2>())
      .def(
          "advance",
          [](Descent<T>& self, Array<T>& E, Array<T>& W, Array<T>& velocity_E, Array<T>& velocity_W, Index steps) {
            const Set& samples = self.samples();
            const auto e = update("E", E, samples.d_in(), units(E));
            const auto w = update("W", W, units(E), samples.d_out());
            const auto ve = update("velocity_E", velocity_E, samples.d_in(), units(E));
            const auto vw = update("velocity_W", velocity_W, units(E), samples.d_out());
            py::gil_scoped_release release;
            self.advance(e, w, ve, vw, steps);
          },
          py::arg("E").noconvert(), py::arg("W").noconvert(), py::arg("velocity_E").noconvert(),
          py::arg("velocity_W").noconvert(), py::arg("steps"));

  using Predicted = PredictedGradient<T>;
  py::class_<Predicted>(m, ("PredictedGradient" + bits).c_str(), py::module_local())
      .def(py::init<const Set&, Activation, double>(), py::arg("samples"), py::arg("activation"), py::arg("ridge"),
           py::keep_alive<1, 2>())
      .def(
          "evaluate",
          [](Predicted& self, const Array<T>& E) -> py::object {
            const auto e = read("E", E, self.samples().d_in(), units(E));
            bool factored;
            {
              py::gil_scoped_release release;
              factored = self.evaluate(e);
            }
            if (!factored) return py::none();
            return py::make_tuple(to_array(self.direction()), to_array(self.W()));
          },
          py::arg("E").noconvert())
      .def(
          "measure",
          [](Predicted& self, const Array<T>& E) -> py::object {
            const auto e = read("E", E, self.samples().d_in(), units(E));
            bool factored;
            double cost = 0, condition = 0;
            {
              py::gil_scoped_release release;
              factored = self.solve(e);
              if (factored) {
                cost = self.cost(e);
                condition = self.condition();
              }
            }
            if (!factored) return py::none();
            return py::make_tuple(to_array(self.W()), cost, condition);
          },
          py::arg("E").noconvert())
      .def(
          "advance",
          [](Predicted& self, Array<T>& E, double step_size, Index steps) {
            const auto e = update("E", E, self.samples().d_in(), units(E));
            py::gil_scoped_release release;
            return self.advance(e, static_cast<T>(step_size), steps);
          },
          py::arg("E").noconvert(), py::arg("step_size"), py::arg("steps"));
}

}  // namespace zeroloss
