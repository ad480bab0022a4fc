// Binds single evaluations of a network.
#include "../core/network/network.hpp"
#include "bindings.hpp"

namespace zeroloss {
namespace {

template <class T>
void bind_network_for(py::module_& m) {
  using TypedSamples = Samples<T>;
  m.def(
      "hidden",
      [](const TypedSamples& samples, const Array<T>& E, Activation activation) {
        const auto e = read("E", E, samples.d_in(), count_units(E));
        Matrix<T> H, S;
        {
          py::gil_scoped_release release;
          hidden<T>(samples, e, activation, H, S);
        }
        return py::make_tuple(to_array(H), to_array(S));
      },
      py::arg("samples"), py::arg("E").noconvert(), py::arg("activation"));

  m.def(
      "outputs",
      [](const TypedSamples& samples, const Array<T>& E, const Array<T>& W, Activation activation) {
        const auto e = read("E", E, samples.d_in(), count_units(E));
        const auto w = read_second_layer("W", W, count_units(E), W.ndim() == 2 ? W.shape(1) : 0);
        Array<T> result({samples.n(), w.cols()});
        const MatrixMap<T> F(result.mutable_data(), samples.n(), w.cols());
        py::gil_scoped_release release;
        outputs<T>(samples, e, w, activation, F);
        return result;
      },
      py::arg("samples"), py::arg("E").noconvert(), py::arg("W").noconvert(), py::arg("activation"));

  m.def(
      "loss_and_gradient",
      [](const TypedSamples& samples, const Array<T>& E, const Array<T>& W, Activation activation, Loss loss) {
        const auto e = read("E", E, samples.d_in(), count_units(E));
        const auto w = read_second_layer("W", W, count_units(E), samples.d_out());
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
      "describe",
      [](const TypedSamples& train, const TypedSamples& test, const Array<T>& E, const Array<T>& W,
         Activation activation, Loss loss) {
        check_same_sizes(train, test);
        const auto e = read("E", E, train.d_in(), count_units(E));
        const auto w = read_second_layer("W", W, count_units(E), train.d_out());
        Array<Record> result(1);
        Record* const output = result.mutable_data();
        py::gil_scoped_release release;
        *output = describe<T>(train, test, e, w, activation, loss);
        return result;
      },
      py::arg("train"), py::arg("test"), py::arg("E").noconvert(), py::arg("W").noconvert(), py::arg("activation"),
      py::arg("loss"));

  m.def(
      "frobenius_norm", [](const Array<T>& A) { return std::sqrt(sum_of_squares(A.data(), A.size())); },
      py::arg("A").noconvert());
}

}  // namespace

void bind_network(py::module_& m) {
  bind_network_for<float>(m);
  bind_network_for<double>(m);
}

}  // namespace zeroloss
