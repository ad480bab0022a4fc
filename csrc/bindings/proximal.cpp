// Binds the implicit steps of the norm flow, in float64 only.
#include "../core/proximal/proximal.hpp"

#include "bindings.hpp"

namespace zeroloss {
namespace {

const char* name(ProximalEnding ending) {
  switch (ending) {
    case ProximalEnding::converged:
      return "converged";
    case ProximalEnding::stalled:
      return "stalled";
    case ProximalEnding::units_do_not_settle:
      return "the units did not settle";
    case ProximalEnding::singular:
      return "singular";
    case ProximalEnding::too_many_iterations:
      break;
  }
  return "too many iterations";
}

}  // namespace

void bind_proximal(py::module_& m) {
  using Vectors = Array<double>;
  struct Point {
    MatrixMap<double> E, W, T;

    Point(const Samples<double>& samples, Vectors& e, Vectors& w, Vectors& t)
        : E(update("E", e, samples.d_in(), count_units(e)), samples.d_in(), count_units(e)),
          W(update_second_layer("W", w, count_units(e), samples.d_out())),
          T(update("T", t, samples.n(), count_units(e)), samples.n(), count_units(e)) {}

    ProximalPoint copy() const { return {{E, W}, T}; }
    void assign(const ProximalPoint& point) {
      E = point.theta.E;
      W = point.theta.W;
      T = point.T;
    }
  };

  py::class_<Proximal>(m, "Proximal", py::module_local())
      .def(py::init([](const Samples<double>& samples, Activation activation, Index most_linear_iterations,
                       int threads) { return Proximal(samples, activation, most_linear_iterations, Team(threads)); }),
           py::arg("samples"), py::arg("activation"), py::arg("most_linear_iterations"), py::arg("threads") = 1,
           py::keep_alive<1, 2>())
      .def(
          "solve",
          [](Proximal& self, const Vectors& c_E, const Vectors& c_W, Vectors& E, Vectors& W, Vectors& T,
             Vectors& multiplier, double tolerance, double unit_tolerance, Index most_iterations, double forcing,
             double softening) {
            const Samples<double>& samples = self.samples();
            Point arrays(samples, E, W, T);
            const Parameters c{read("c_E", c_E, samples.d_in(), count_units(E)),
                               read("c_W", c_W, arrays.W.rows(), samples.d_out())};
            MatrixMap<double> multiplier_map(update("multiplier", multiplier, samples.n(), samples.d_out()),
                                             samples.n(), samples.d_out());
            ProximalSolve result;
            {
              py::gil_scoped_release release;
              ProximalPoint point = arrays.copy();
              Matrix<double> multiplier_copy = multiplier_map;
              result = self.solve(c, multiplier_copy, point,
                                  {tolerance, unit_tolerance, most_iterations, forcing, softening});
              arrays.assign(point);
              multiplier_map = multiplier_copy;
            }
            return py::make_tuple(name(result.ending), result.residual, result.iterations, result.linear_iterations,
                                  self.pinned());
          },
          py::arg("c_E").noconvert(), py::arg("c_W").noconvert(), py::arg("E").noconvert(), py::arg("W").noconvert(),
          py::arg("T").noconvert(), py::arg("multiplier").noconvert(), py::arg("tolerance"), py::arg("unit_tolerance"),
          py::arg("most_iterations"), py::arg("forcing"), py::arg("softening") = 0.0)
      .def(
          "retract",
          [](Proximal& self, Vectors& E, Vectors& W, Vectors& T, double tolerance, Index most_iterations,
             double forcing) {
            Point arrays(self.samples(), E, W, T);
            ProximalSolve result;
            {
              py::gil_scoped_release release;
              ProximalPoint point = arrays.copy();
              result = self.retract(point, {tolerance, 0, most_iterations, forcing});
              arrays.assign(point);
            }
            return py::make_tuple(name(result.ending), result.residual, result.iterations, result.linear_iterations,
                                  self.pinned());
          },
          py::arg("E").noconvert(), py::arg("W").noconvert(), py::arg("T").noconvert(), py::arg("tolerance"),
          py::arg("most_iterations"), py::arg("forcing"));
}

}  // namespace zeroloss
