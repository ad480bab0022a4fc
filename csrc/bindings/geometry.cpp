// Binds the geometry of the zero-loss set, in float64 only.
#include "../core/geometry/alignment.hpp"
#include "../core/geometry/softened_step.hpp"
#include "bindings.hpp"

namespace zeroloss {
namespace {

SolverSettings solver_settings(const std::string& kind, double tolerance, Index most_iterations) {
  if (kind == "dense") return {SolverKind::dense, tolerance, most_iterations};
  if (kind == "matrix_free") return {SolverKind::matrix_free, tolerance, most_iterations};
  throw std::invalid_argument("kind: expected dense or matrix_free, got " + kind);
}

const char* name(RetractionEnding ending) {
  switch (ending) {
    case RetractionEnding::converged:
      return "converged";
    case RetractionEnding::stalled:
      return "stalled";
    case RetractionEnding::singular:
      return "singular";
    case RetractionEnding::too_many_iterations:
      break;
  }
  return "too many iterations";
}

const char* name(SoftenedEnding ending) {
  switch (ending) {
    case SoftenedEnding::converged:
      return "converged";
    case SoftenedEnding::singular:
      return "singular";
    case SoftenedEnding::too_many_iterations:
      break;
  }
  return "too many iterations";
}

}  // namespace

void bind_geometry(py::module_& m) {
  using Vectors = Array<double>;
  const auto read_E = [](ZeroLossSet& self, const char* name, const Vectors& E) {
    check_at_least("hidden", count_units(E), 1);
    return read(name, E, self.jacobian().samples().d_in(), count_units(E));
  };
  const auto read_W = [](ZeroLossSet& self, const char* name, const Vectors& W, const Vectors& E) {
    return read_second_layer(name, W, count_units(E), self.jacobian().samples().d_out());
  };
  const auto read_like = [](const char* name, const Vectors& array, const auto& like) {
    return read(name, array, like.rows(), like.cols());
  };

  py::class_<ZeroLossSet>(m, "ZeroLossSet", py::module_local())
      .def(py::init([](const Samples<double>& samples, Activation activation, const std::string& kind, double tolerance,
                       Index most_iterations, int threads, bool trains_E, bool trains_W) {
             check_not_empty(samples);
             return ZeroLossSet(samples, activation, solver_settings(kind, tolerance, most_iterations), Team(threads),
                                trains_E, trains_W);
           }),
           py::arg("samples"), py::arg("activation"), py::arg("kind"), py::arg("tolerance"), py::arg("most_iterations"),
           py::arg("threads") = 1, py::arg("trains_E") = true, py::arg("trains_W") = true, py::keep_alive<1, 2>())
      .def(
          "gram",
          [=](ZeroLossSet& self, const Vectors& E, const Vectors& W) {
            const auto e = read_E(self, "E", E);
            const auto w = read_W(self, "W", W, E);
            const Index size = self.jacobian().rows();
            Vectors K({size, size});
            Eigen::Map<Eigen::MatrixXd> k(K.mutable_data(), size, size);
            {
              py::gil_scoped_release release;
              self.jacobian().move(e, w);
              self.gram().full(self.jacobian(), k);
            }
            return K;
          },
          py::arg("E").noconvert(), py::arg("W").noconvert())
      .def(
          "residual",
          [=](ZeroLossSet& self, const Vectors& E, const Vectors& W) {
            const auto e = read_E(self, "E", E);
            const auto w = read_W(self, "W", W, E);
            Matrix<double> R;
            {
              py::gil_scoped_release release;
              self.jacobian().move(e, w);
              self.jacobian().residual(R);
            }
            return to_array(R);
          },
          py::arg("E").noconvert(), py::arg("W").noconvert())
      .def(
          "multiply",
          [=](ZeroLossSet& self, const Vectors& E, const Vectors& W, const Vectors& vE, const Vectors& vW) {
            const auto e = read_E(self, "E", E), ve = read_like("vE", vE, e);
            const auto w = read_W(self, "W", W, E), vw = read_like("vW", vW, w);
            Matrix<double> R;
            {
              py::gil_scoped_release release;
              self.jacobian().move(e, w);
              self.jacobian().multiply({ve, vw}, R);
            }
            return to_array(R);
          },
          py::arg("E").noconvert(), py::arg("W").noconvert(), py::arg("vE").noconvert(), py::arg("vW").noconvert())
      .def(
          "multiply_transposed",
          [=](ZeroLossSet& self, const Vectors& E, const Vectors& W, const Vectors& R) {
            const auto e = read_E(self, "E", E);
            const auto w = read_W(self, "W", W, E);
            const Samples<double>& samples = self.jacobian().samples();
            const auto r = read("R", R, samples.n(), samples.d_out());
            Parameters v;
            {
              py::gil_scoped_release release;
              self.jacobian().move(e, w);
              self.jacobian().multiply_transposed(r, v);
            }
            return py::make_tuple(to_array(v.E), to_array(v.W));
          },
          py::arg("E").noconvert(), py::arg("W").noconvert(), py::arg("R").noconvert())
      .def(
          "direction",
          [=](ZeroLossSet& self, const Vectors& E, const Vectors& W) -> py::object {
            const auto e = read_E(self, "E", E);
            const auto w = read_W(self, "W", W, E);
            Parameters g;
            bool succeeded;
            {
              py::gil_scoped_release release;
              succeeded = self.direction(e, w, g);
            }
            if (!succeeded) return py::none();
            return py::make_tuple(to_array(g.E), to_array(g.W));
          },
          py::arg("E").noconvert(), py::arg("W").noconvert())
      .def(
          "tangent_part",
          [=](ZeroLossSet& self, const Vectors& E, const Vectors& W, const Vectors& vE,
              const Vectors& vW) -> py::object {
            const auto e = read_E(self, "E", E);
            const auto w = read_W(self, "W", W, E);
            Parameters v{read_like("vE", vE, e), read_like("vW", vW, w)};
            bool succeeded;
            {
              py::gil_scoped_release release;
              succeeded = self.factor(e, w) && self.project_to_tangent(v);
            }
            if (!succeeded) return py::none();
            return py::make_tuple(to_array(v.E), to_array(v.W));
          },
          py::arg("E").noconvert(), py::arg("W").noconvert(), py::arg("vE").noconvert(), py::arg("vW").noconvert())
      .def(
          "pinned_direction",
          [=](ZeroLossSet& self, const Vectors& E, const Vectors& W, const Vectors& pinned) -> py::object {
            const auto e = read_E(self, "E", E);
            const auto w = read_W(self, "W", W, E);
            const Samples<double>& samples = self.jacobian().samples();
            const auto p = read("pinned", pinned, samples.n(), count_units(E));
            Parameters g;
            KinkConstraints constraints(samples);
            bool succeeded;
            {
              py::gil_scoped_release release;
              constraints.assign(count_units(E), [&](Index i, Index u) { return p(i, u) != 0; });
              succeeded = self.pinned_direction(e, w, constraints, g);
            }
            if (!succeeded) return py::none();
            return py::make_tuple(to_array(g.E), to_array(g.W), constraints.rank());
          },
          py::arg("E").noconvert(), py::arg("W").noconvert(), py::arg("pinned").noconvert())
      .def(
          "retract",
          [](ZeroLossSet& self, Vectors& E, Vectors& W, double tolerance, Index most_iterations, bool reuse_factor) {
            const Samples<double>& samples = self.jacobian().samples();
            check_at_least("hidden", count_units(E), 1);
            const MatrixMap<double> e(update("E", E, samples.d_in(), count_units(E)), samples.d_in(), count_units(E));
            const auto w = update_second_layer("W", W, count_units(E), samples.d_out());
            Retraction result;
            {
              py::gil_scoped_release release;
              result = self.retract(e, w, {tolerance, most_iterations, reuse_factor});
            }
            return py::make_tuple(name(result.ending), result.residuals, result.factorisations);
          },
          py::arg("E").noconvert(), py::arg("W").noconvert(), py::arg("tolerance"), py::arg("most_iterations"),
          py::arg("reuse_factor"))
      .def(
          "solve_softened",
          [=](ZeroLossSet& self, const Vectors& c_E, const Vectors& c_W, Vectors& E, Vectors& W, Vectors& multiplier,
              double softening, double tolerance, double accuracy, Index most_iterations) {
            const Samples<double>& samples = self.jacobian().samples();
            if (self.normal_equations().kind() != SolverKind::dense)
              throw std::invalid_argument("solve_softened: expected a dense set, got a matrix-free one");
            const Parameters c{read_E(self, "c_E", c_E), read_W(self, "c_W", c_W, c_E)};
            const Index h = count_units(c_E);
            MatrixMap<double> e(update("E", E, samples.d_in(), h), samples.d_in(), h);
            MatrixMap<double> w(update("W", W, c.W.rows(), samples.d_out()), c.W.rows(), samples.d_out());
            MatrixMap<double> multiplier_map(update("multiplier", multiplier, samples.n(), samples.d_out()),
                                             samples.n(), samples.d_out());
            SoftenedStep step;
            {
              py::gil_scoped_release release;
              Parameters theta{e, w};
              Matrix<double> solved;
              step = solve_softened(self, c, {softening, tolerance, accuracy, most_iterations}, theta, solved);
              e = theta.E;
              w = theta.W;
              multiplier_map = solved;
            }
            return py::make_tuple(name(step.ending), step.residual, step.contraction, step.iterations);
          },
          py::arg("c_E").noconvert(), py::arg("c_W").noconvert(), py::arg("E").noconvert(), py::arg("W").noconvert(),
          py::arg("multiplier").noconvert(), py::arg("softening"), py::arg("tolerance"), py::arg("accuracy"),
          py::arg("most_iterations"))
      .def(
          "extremes",
          [=](ZeroLossSet& self, const Vectors& E, const Vectors& W, double accuracy, Index most) -> py::object {
            const auto e = read_E(self, "E", E);
            const auto w = read_W(self, "W", W, E);
            SingularValue largest{}, smallest{};
            bool succeeded;
            {
              py::gil_scoped_release release;
              succeeded = self.factor(e, w) && self.smallest(accuracy, most, smallest);
              if (succeeded) largest = self.largest(accuracy, most);
            }
            if (!succeeded) return py::none();
            return py::make_tuple(largest.value, smallest.value, std::max(largest.accuracy, smallest.accuracy));
          },
          py::arg("E").noconvert(), py::arg("W").noconvert(), py::arg("accuracy"), py::arg("most"))
      .def(
          "alignment",
          [=](ZeroLossSet& self, const Vectors& E, const Vectors& W, const Vectors& earlier_E, const Vectors& earlier_W,
              const Vectors& projected_E, const Vectors& projected_W, bool retracted, double accuracy,
              Index most) -> py::object {
            const Parameters theta{read_E(self, "E", E), read_W(self, "W", W, E)};
            const Parameters earlier{read_like("earlier_E", earlier_E, theta.E),
                                     read_like("earlier_W", earlier_W, theta.W)};
            const auto e = read_like("projected_E", projected_E, theta.E);
            const auto w = read_like("projected_W", projected_W, theta.W);
            Alignment alignment;
            bool succeeded;
            {
              py::gil_scoped_release release;
              succeeded = (retracted || self.factor(e, w)) &&
                          measure_alignment(self, theta, earlier, accuracy, most, alignment);
            }
            if (!succeeded) return py::none();
            return py::make_tuple(alignment.cosine, alignment.decay_cosine, alignment.tangent_share,
                                  alignment.smallest.value, alignment.smallest.accuracy, alignment.update_is_zero,
                                  alignment.direction_is_zero);
          },
          py::arg("E").noconvert(), py::arg("W").noconvert(), py::arg("earlier_E").noconvert(),
          py::arg("earlier_W").noconvert(), py::arg("projected_E").noconvert(), py::arg("projected_W").noconvert(),
          py::arg("retracted"), py::arg("accuracy"), py::arg("most"));
}

}  // namespace zeroloss
