// Single evaluations of a network.
#include "../core/network.hpp"
#include "bindings.hpp"

namespace zeroloss {
namespace {

template <class T>
void bind(py::module_& m) {
  using Set = Samples<T>;
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
      [](const Set& samples, const Array<T>& E, const Array<T>& W, Activation activation, Loss loss) {
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
      [](const Set& samples, const Array<T>& E, const Array<T>& W, Activation activation, Loss loss) {
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
      "frobenius_norm", [](const Array<T>& A) { return std::sqrt(sum_of_squares(A.data(), A.size())); },
      py::arg("A").noconvert());
}

}  // namespace

void bind_network(py::module_& m) {
  bind<float>(m);
  bind<double>(m);
}

}  // namespace zeroloss
