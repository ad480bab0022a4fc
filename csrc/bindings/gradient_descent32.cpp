// Gradient descent in float32, and minibatches and label noise for both precisions.
#include "gradient_descent.hpp"

namespace zeroloss {
namespace {

Sampling sampling(Index batch_size, std::uint64_t batch_seed, double noise_std, std::uint64_t noise_seed) {
  check_at_least("batch_size", batch_size, 0);
  return {batch_size, batch_seed, noise_std, noise_seed};
}

/// Returns the first `count` numbers of the label noise of a step, before it is scaled.
Array<float> label_noise(std::uint64_t seed, Index step, Index count) {
  check_at_least("step", step, 0);
  check_at_least("count", count, 0);
  Buffer<float> numbers(group_count(count) * normals_per_group);
  write_label_noise(seed, step, 0, group_count(count), numbers.data());
  Array<float> result(count);
  std::copy_n(numbers.data(), count, result.mutable_data());
  return result;
}

/// Returns the order of n samples in an epoch.
Array<Index> order_of_epoch(std::uint64_t seed, std::uint64_t epoch, Index n) {
  check_at_least("n", n, 1);
  const std::vector<Index> order = epoch_order(seed, epoch, n);
  Array<Index> result(n);
  std::copy(order.begin(), order.end(), result.mutable_data());
  return result;
}

}  // namespace

void bind_gradient_descent32(py::module_& m) {
  py::class_<Sampling>(m, "Sampling", py::module_local())
      .def(py::init(&sampling), py::arg("batch_size"), py::arg("batch_seed"), py::arg("noise_std"),
           py::arg("noise_seed"));
  m.def("label_noise", &label_noise, py::arg("seed"), py::arg("step"), py::arg("count"));
  m.def("epoch_order", &order_of_epoch, py::arg("seed"), py::arg("epoch"), py::arg("n"));
  bind_descent<float>(m, "32");
}

}  // namespace zeroloss
