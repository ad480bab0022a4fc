// Gradient descent.
#include "../core/gradient_descent.hpp"

#include <memory>
#include <optional>
#include <utility>

#include "bindings.hpp"

namespace zeroloss {
namespace {

/// What belongs to the two layers: one array for E, one for W.
template <class T>
using Pair = std::pair<Array<T>, Array<T>>;

template <class T>
Layers<T> checked(const Descent<T>& descent, const std::string& name, Pair<T>& pair) {
  return {update((name + "[0]").c_str(), pair.first, descent.d_in(), descent.h()),
          update((name + "[1]").c_str(), pair.second, descent.h(), descent.d_out())};
}

template <class T>
void bind(py::module_& m, const std::string& bits) {
  using Set = Samples<T>;
  using Descending = Descent<T>;
  py::class_<Descending>(m, ("Descent" + bits).c_str(), py::module_local())
      .def(py::init([](const Set& samples, Activation activation, SquaredError loss, double lr, double weight_decay,
                       double momentum, bool compensated, Index hidden, int threads) {
             const Step<T> step{static_cast<T>(lr), static_cast<T>(weight_decay), static_cast<T>(momentum)};
             return std::make_unique<Descending>(samples, activation, loss, step, compensated, hidden, Team(threads));
           }),
           py::arg("samples"), py::arg("activation"), py::arg("loss"), py::arg("lr"), py::arg("weight_decay"),
           py::arg("momentum"), py::arg("compensated"), py::arg("hidden"), py::arg("threads"))
      .def(
          "advance",
          [](Descending& self, Pair<T> theta, std::optional<Pair<T>> velocity, std::optional<Pair<T>> compensation,
             Index steps, std::optional<Array<double>> losses) {
            const auto layers = [&](const std::string& name, bool wanted, std::optional<Pair<T>>& pair) {
              if (wanted != pair.has_value())
                throw std::invalid_argument(name + ": expected " + (wanted ? "(E, W), got None" : "None, got arrays"));
              return wanted ? checked(self, name, *pair) : Layers<T>{};
            };
            const Layers<T> v = layers("velocity", self.has_momentum(), velocity),
                            c = layers("compensation", self.compensated(), compensation);
            if (losses && (losses->ndim() != 1 || losses->size() != steps))
              throw std::invalid_argument("losses: expected shape (" + std::to_string(steps) + "), got " +
                                          shape_text(*losses));
            double* const loss = losses ? losses->mutable_data() : nullptr;
            const Layers<T> parameters = checked(self, "theta", theta);
            py::gil_scoped_release release;
            return self.advance(parameters, v, c, steps, loss);
          },
          py::arg("theta").noconvert(), py::arg("velocity").noconvert(), py::arg("compensation").noconvert(),
          py::arg("steps"), py::arg("losses").noconvert() = py::none());
}

}  // namespace

void bind_gradient_descent(py::module_& m) {
  bind<float>(m, "32");
  bind<double>(m, "64");
}

}  // namespace zeroloss
