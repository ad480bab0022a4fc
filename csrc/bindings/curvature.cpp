// Binds the curvature of the loss, in float64 only.
#include "../core/curvature/trace_gradient.hpp"

#include "bindings.hpp"

namespace zeroloss {
namespace {

CurvaturePart curvature_part(const std::string& part) {
  if (part == "hessian") return CurvaturePart::hessian;
  if (part == "gauss_newton") return CurvaturePart::gauss_newton;
  if (part == "remainder") return CurvaturePart::remainder;
  throw std::invalid_argument("part: expected hessian, gauss_newton or remainder, got " + part);
}

Curvature::ConstVector read_vector(const Array<double>& v, Index size) {
  if (v.ndim() != 1 || v.size() != size)
    throw std::invalid_argument("v: expected shape (" + std::to_string(size) + ",), got " + shape_text(v));
  return Eigen::Map<const Eigen::VectorXd>(v.data(), size);
}

}  // namespace

void bind_curvature(py::module_& m) {
  using Vectors = Array<double>;
  const auto move = [](Curvature& self, const Vectors& E, const Vectors& W) {
    check_at_least("hidden", count_units(E), 1);
    const auto e = read("E", E, self.samples().d_in(), count_units(E));
    const auto w = read_second_layer("W", W, count_units(E), self.samples().d_out());
    py::gil_scoped_release release;
    self.move(e, w);
  };

  m.def(
      "gauss_newton_trace",
      [](const Samples<double>& samples, const Vectors& E, const Vectors& W, Activation activation, Loss loss,
         int threads) {
        check_not_empty(samples);
        check_at_least("hidden", count_units(E), 1);
        if (loss.kind != LossKind::squared_error) throw std::invalid_argument("loss: expected mse");
        const auto e = read("E", E, samples.d_in(), count_units(E));
        const auto w = read_second_layer("W", W, count_units(E), samples.d_out());
        const double scale = loss.scale(samples.n(), samples.d_out());
        Matrix<double> gE, gW;
        double trace;
        {
          py::gil_scoped_release release;
          trace = gauss_newton_trace(Team(threads), samples, activation, scale, e, w, gE, gW);
        }
        return py::make_tuple(trace, to_array(gE), to_array(gW));
      },
      py::arg("samples"), py::arg("E").noconvert(), py::arg("W").noconvert(), py::arg("activation"), py::arg("loss"),
      py::arg("threads") = 1);

  py::class_<Curvature>(m, "Curvature", py::module_local())
      .def(py::init([=](const Samples<double>& samples, Activation activation, Loss loss, const Vectors& E,
                        const Vectors& W, int threads) {
             check_not_empty(samples);
             auto curvature = std::make_unique<Curvature>(samples, activation, loss, Team(threads));
             move(*curvature, E, W);
             return curvature;
           }),
           py::arg("samples"), py::arg("activation"), py::arg("loss"), py::arg("E").noconvert(),
           py::arg("W").noconvert(), py::arg("threads") = 1, py::keep_alive<1, 2>())
      .def("move", move, py::arg("E").noconvert(), py::arg("W").noconvert())
      .def(
          "multiply",
          [](Curvature& self, const Vectors& v, const std::string& part, double weight_decay) {
            const auto vector = read_vector(v, self.size());
            const CurvaturePart wanted = curvature_part(part);
            Vectors product(self.size());
            Eigen::Map<Eigen::VectorXd> result(product.mutable_data(), self.size());
            {
              py::gil_scoped_release release;
              self.multiply(wanted, weight_decay, vector, result);
            }
            return product;
          },
          py::arg("v").noconvert(), py::arg("part"), py::arg("weight_decay"))
      .def(
          "multiply_jacobian",
          [](Curvature& self, const Vectors& v) {
            const auto vector = read_vector(v, self.size());
            const Index n = self.samples().n(), d_out = self.samples().d_out();
            Vectors product({n, d_out});
            const MatrixMap<double> dF(product.mutable_data(), n, d_out);
            {
              py::gil_scoped_release release;
              self.multiply_jacobian(vector, dF);
            }
            return product;
          },
          py::arg("v").noconvert())
      .def(
          "multiply_jacobian_transposed",
          [](Curvature& self, const Vectors& R) {
            const Matrix<double> r = read("R", R, self.samples().n(), self.samples().d_out());
            Vectors product(self.size());
            Eigen::Map<Eigen::VectorXd> result(product.mutable_data(), self.size());
            {
              py::gil_scoped_release release;
              self.multiply_jacobian_transposed(r, result);
            }
            return product;
          },
          py::arg("R").noconvert())
      .def(
          "trace",
          [](Curvature& self, const std::string& part) {
            const CurvaturePart wanted = curvature_part(part);
            const py::gil_scoped_release release;
            return self.trace(wanted);
          },
          py::arg("part"))
      .def(
          "largest_eigenvalue",
          [](Curvature& self, const std::string& part, double weight_decay, double accuracy, Index most_iterations) {
            check_at_least("most_iterations", most_iterations, 1);
            const CurvaturePart wanted = curvature_part(part);
            LargestEigenvalue largest;
            {
              py::gil_scoped_release release;
              largest = self.largest_eigenvalue(wanted, weight_decay, accuracy, most_iterations);
            }
            return py::make_tuple(largest.value, largest.accuracy);
          },
          py::arg("part"), py::arg("weight_decay"), py::arg("accuracy"), py::arg("most_iterations"));
}

}  // namespace zeroloss
