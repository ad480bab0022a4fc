// One extension module for each instruction-set level, all from this source: a table of contents.
#include <Eigen/Core>

#include "../core/activation.hpp"
#include "../core/loss.hpp"
#include "../core/peak.hpp"
#include "bindings.hpp"

namespace zeroloss {
namespace {

Activation activation(const std::string& kind, double parameter) {
  static const std::pair<const char*, ActivationKind> kinds[] = {{"identity", ActivationKind::identity},
                                                                 {"relu", ActivationKind::relu},
                                                                 {"leaky_relu", ActivationKind::leaky_relu},
                                                                 {"square", ActivationKind::square},
                                                                 {"tanh", ActivationKind::tanh},
                                                                 {"gelu", ActivationKind::gelu},
                                                                 {"softplus", ActivationKind::softplus}};
  for (const auto& [name, value] : kinds)
    if (kind == name) return {value, parameter};
  throw std::invalid_argument("kind: no activation is called " + kind);
}

Loss loss(const std::string& kind, const std::string& reduction) {
  if (kind != "mse" && kind != "cross_entropy")
    throw std::invalid_argument("kind: expected mse or cross_entropy, got " + kind);
  if (reduction != "mean" && reduction != "sum")
    throw std::invalid_argument("reduction: expected mean or sum, got " + reduction);
  return {kind == "mse" ? LossKind::squared_error : LossKind::cross_entropy,
          reduction == "mean" ? Reduction::mean : Reduction::sum};
}

}  // namespace
}  // namespace zeroloss

PYBIND11_MODULE(ZEROLOSS_MODULE, m) {
  using namespace zeroloss;
  m.doc() = "Kernels of zeroloss for one instruction-set level; zeroloss._kernels chooses among them.";

  // Eigen cuts its products by the caches it finds: fixed sizes keep the bits the same on every machine.
  Eigen::setCpuCacheSizes(32 * 1024, 512 * 1024, 4 * 1024 * 1024);

  m.attr("compiler") = __VERSION__;
  m.attr("eigen") = std::to_string(EIGEN_WORLD_VERSION) + "." + std::to_string(EIGEN_MAJOR_VERSION) + "." +
                    std::to_string(EIGEN_MINOR_VERSION);

  py::class_<Activation>(m, "Activation", py::module_local())
      .def(py::init(&activation), py::arg("kind"), py::arg("parameter"));
  py::class_<Loss>(m, "Loss", py::module_local()).def(py::init(&loss), py::arg("kind"), py::arg("reduction"));
  m.def("fma_peak32", &fma_peak<float>, py::arg("seconds"), py::call_guard<py::gil_scoped_release>());
  m.def("fma_peak64", &fma_peak<double>, py::arg("seconds"), py::call_guard<py::gil_scoped_release>());
  bind_samples(m);
  bind_network(m);
  bind_gradient_descent(m);
  bind_predicted_gradient(m);
  bind_geometry(m);
  bind_proximal(m);
}
