// Gradient descent.
#include "../core/gradient_descent.hpp"

#include <memory>

#include "bindings.hpp"

namespace zeroloss {
namespace {

template <class T>
void bind(py::module_& m, const std::string& bits) {
  using Set = Samples<T>;
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
}

}  // namespace

void bind_gradient_descent(py::module_& m) {
  bind<float>(m, "32");
  bind<double>(m, "64");
}

}  // namespace zeroloss
