// Gradient descent and steps of the gradient flow in float64. They share a source file, because they share kernels that
// take long to compile.
#include "../core/descent/runge_kutta_chebyshev.hpp"
#include "gradient_descent.hpp"

namespace zeroloss {
namespace {

void bind_runge_kutta_chebyshev(py::module_& m) {
  using Layer = Array<double>;
  py::class_<RungeKuttaChebyshev>(m, "RungeKuttaChebyshev", py::module_local())
      .def(py::init([](const Samples<double>& samples, Activation activation, Loss loss, double weight_decay,
                       Index hidden, int threads, bool trains_E, bool trains_W, bool output_biases) {
             check_not_empty(samples);
             check_at_least("hidden", hidden, 1);
             return std::make_unique<RungeKuttaChebyshev>(samples, activation, loss, weight_decay, hidden, trains_E,
                                                          trains_W, output_biases, Team(threads));
           }),
           py::arg("samples"), py::arg("activation"), py::arg("loss"), py::arg("weight_decay"), py::arg("hidden"),
           py::arg("threads"), py::arg("trains_E") = true, py::arg("trains_W") = true, py::arg("output_biases") = false)
      .def(
          "step",
          [](RungeKuttaChebyshev& self, Layer E, Layer W, Layer slope_E, Layer slope_W, double size, Index stages,
             double rtol, double atol) {
            check_at_least("stages", stages, 2);
            const Layers<double> theta{update("E", E, self.d_in(), self.h()),
                                       update("W", W, self.W_rows(), self.d_out())};
            const Layers<double> slope{update("slope_E", slope_E, self.d_in(), self.h()),
                                       update("slope_W", slope_W, self.W_rows(), self.d_out())};
            const py::gil_scoped_release release;
            return self.step(theta, slope, size, stages, {rtol, atol});
          },
          py::arg("E").noconvert(), py::arg("W").noconvert(), py::arg("slope_E").noconvert(),
          py::arg("slope_W").noconvert(), py::kw_only(), py::arg("size"), py::arg("stages"), py::arg("rtol"),
          py::arg("atol"));
}

}  // namespace

void bind_gradient_descent64(py::module_& m) {
  bind_descent<double>(m, "64");
  bind_runge_kutta_chebyshev(m);
}

}  // namespace zeroloss
