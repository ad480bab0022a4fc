// The extension module. It is compiled once for each instruction-set level.
#include <Eigen/Core>

#include "../core/descent/norm_control.hpp"
#include "../core/descent/optimizer.hpp"
#include "../core/math/operation_costs_benchmark.hpp"
#include "../core/network/activation.hpp"
#include "../core/network/loss.hpp"
#include "../core/network/record.hpp"
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

Loss loss(const std::string& kind, const std::string& reduction, double temperature) {
  if (kind != "mse" && kind != "cross_entropy")
    throw std::invalid_argument("kind: expected mse or cross_entropy, got " + kind);
  if (reduction != "mean" && reduction != "sum")
    throw std::invalid_argument("reduction: expected mean or sum, got " + reduction);
  return {kind == "mse" ? LossKind::squared_error : LossKind::cross_entropy,
          reduction == "mean" ? Reduction::mean : Reduction::sum, temperature};
}

Optimizer optimizer(const std::string& rule, double lr, double weight_decay_E, double weight_decay_W, double momentum,
                    double second_momentum, double epsilon, bool compensated, std::optional<double> lr_W, bool trains_E,
                    bool trains_W, bool decay_biases) {
  if (rule != "sgd" && rule != "adamw") throw std::invalid_argument("rule: expected sgd or adamw, got " + rule);
  return {rule == "sgd" ? Rule::sgd : Rule::adamw,
          lr,
          weight_decay_E,
          weight_decay_W,
          momentum,
          second_momentum,
          epsilon,
          compensated,
          lr_W,
          trains_E,
          trains_W,
          decay_biases};
}

NormControl norm_control(const std::string& kind, bool E, bool W, double ratio, Index step) {
  using enum NormControl::Kind;
  for (const auto& [name, value] : {std::pair{"hold", hold}, {"cap", cap}, {"rescale", rescale}})
    if (kind == name) return {value, E, W, ratio, step};
  throw std::invalid_argument("kind: expected hold, cap or rescale, got " + kind);
}

template <class T>
py::dict describe_costs(double seconds) {
  const OperationCosts costs = [seconds] {
    const py::gil_scoped_release release;
    return operation_costs<T>(seconds);
  }();
  py::dict result;
  result["multiply_add"] = costs.multiply_add;
  result["simple"] = costs.simple;
  result["permute"] = costs.permute;
  result["load"] = costs.load;
  result["store"] = costs.store;
  return result;
}

}  // namespace
}  // namespace zeroloss

PYBIND11_MODULE(ZEROLOSS_MODULE, m) {
  using namespace zeroloss;
  m.doc() = "Kernels of zeroloss for one instruction-set level; zeroloss._kernels chooses among them.";

  // Eigen divides its products by the sizes of the caches. Fixed sizes give the same bits on every machine.
  Eigen::setCpuCacheSizes(32 * 1024, 512 * 1024, 4 * 1024 * 1024);

  m.attr("compiler") = __VERSION__;
  m.attr("eigen") = std::to_string(EIGEN_WORLD_VERSION) + "." + std::to_string(EIGEN_MAJOR_VERSION) + "." +
                    std::to_string(EIGEN_MINOR_VERSION);

  py::class_<Activation>(m, "Activation", py::module_local())
      .def(py::init(&activation), py::arg("kind"), py::arg("parameter"));
  py::class_<Loss>(m, "Loss", py::module_local())
      .def(py::init(&loss), py::arg("kind"), py::arg("reduction"), py::arg("temperature") = 1.0);
  py::class_<Optimizer>(m, "Optimizer", py::module_local())
      .def(py::init(&optimizer), py::arg("rule"), py::arg("lr"), py::arg("weight_decay_E"), py::arg("weight_decay_W"),
           py::arg("momentum"), py::arg("second_momentum") = 0.0, py::arg("epsilon") = 0.0,
           py::arg("compensated") = false, py::arg("lr_W") = py::none(), py::arg("trains_E") = true,
           py::arg("trains_W") = true, py::arg("decay_biases") = true);
  py::class_<NormControl>(m, "NormControl", py::module_local())
      .def(py::init(&norm_control), py::arg("kind"), py::arg("E"), py::arg("W"), py::arg("ratio"), py::arg("step"));
  PYBIND11_NUMPY_DTYPE(Record, train_loss, test_loss, train_accuracy, test_accuracy, norm_E, norm_W, residual,
                       norm_bias);
  m.attr("record_dtype") = py::dtype::of<Record>();
  m.def("fma_peak32", &fma_peak<float>, py::arg("seconds"), py::call_guard<py::gil_scoped_release>());
  m.def("fma_peak64", &fma_peak<double>, py::arg("seconds"), py::call_guard<py::gil_scoped_release>());
  m.def("operation_costs32", &describe_costs<float>, py::arg("seconds"));
  m.def("operation_costs64", &describe_costs<double>, py::arg("seconds"));
  m.attr("register_bytes") = register_bytes;
  m.attr("register_count") = register_count;
  bind_samples(m);
  bind_network(m);
  bind_descent_chunk(m);
  bind_gradient_descent32(m);
  bind_gradient_descent64(m);
  bind_predicted_gradient(m);
  bind_geometry(m);
  bind_proximal(m);
  bind_curvature(m);
}
