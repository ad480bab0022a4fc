// Binds the predicted gradient.
#include "../core/predicted_gradient/predicted_gradient.hpp"

#include <cmath>
#include <memory>

#include "bindings.hpp"

namespace zeroloss {
namespace {

template <class T>
void bind_predicted_gradient_for(py::module_& m, const std::string& bits) {
  using TypedSamples = Samples<T>;
  using TypedPredictedGradient = PredictedGradient<T>;
  py::class_<TypedPredictedGradient>(m, ("PredictedGradient" + bits).c_str(), py::module_local())
      .def(py::init([](const TypedSamples& samples, Activation activation, double ridge, Index hidden, int threads,
                       bool constant_unit) {
             check_not_empty(samples);
             check_at_least("hidden", hidden, 1);
             if (!(ridge >= 0) || std::isinf(ridge) || (static_cast<T>(ridge) == 0 && samples.n() > hidden))
               throw std::invalid_argument("ridge: expected a number of at least 0, above 0 for n > h, got " +
                                           std::to_string(ridge));
             return std::make_unique<TypedPredictedGradient>(samples, activation, static_cast<T>(ridge), hidden,
                                                             constant_unit, Team(threads));
           }),
           py::arg("samples"), py::arg("activation"), py::arg("ridge"), py::arg("hidden"), py::arg("threads"),
           py::arg("constant_unit") = false)
      .def(
          "evaluate",
          [](TypedPredictedGradient& self, const Array<T>& E) -> py::object {
            const auto e = read("E", E, self.d_in(), self.h());
            Array<T> dE({self.d_in(), self.h()}), W({self.h(), self.d_out()});
            T *const dE_data = dE.mutable_data(), *const W_data = W.mutable_data();
            FactorStatus status;
            {
              py::gil_scoped_release release;
              status = self.direction(e.data(), dE_data, W_data);
            }
            if (!status.ok()) return py::none();
            return py::make_tuple(dE, W);
          },
          py::arg("E").noconvert())
      .def("cost", &TypedPredictedGradient::cost)
      .def("condition", &TypedPredictedGradient::condition, py::call_guard<py::gil_scoped_release>())
      .def(
          "advance",
          [](TypedPredictedGradient& self, Array<T>& E, double step_size, Index steps) {
            T* const e = update("E", E, self.d_in(), self.h());
            check_at_least("steps", steps, 0);
            py::gil_scoped_release release;
            return self.advance(e, static_cast<T>(step_size), steps).steps;
          },
          py::arg("E").noconvert(), py::arg("step_size"), py::arg("steps"));
}

}  // namespace

void bind_predicted_gradient(py::module_& m) {
  bind_predicted_gradient_for<float>(m, "32");
  bind_predicted_gradient_for<double>(m, "64");
}

}  // namespace zeroloss
