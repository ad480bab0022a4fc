// The functions that bind the parts of the module, one for each file. They check shapes, map arrays, release the GIL,
// call the kernel and return.
#pragma once

#include "../core/network/inputs.hpp"
#include "arrays.hpp"

namespace zeroloss {

/// Checks a number that a kernel does not check itself.
inline void check_at_least(const char* name, Index value, Index least) {
  if (value < least)
    throw std::invalid_argument(std::string(name) + ": expected at least " + std::to_string(least) + ", got " +
                                std::to_string(value));
}

/// Checks that there is at least one sample, one input and one output. Kernels with a state rely on it.
template <class T>
void check_not_empty(const Samples<T>& samples) {
  check_at_least("samples", samples.n(), 1);
  check_at_least("d_in", samples.d_in(), 1);
  check_at_least("d_out", samples.d_out(), 1);
}

/// Checks that training and test samples have the same inputs and outputs. The test samples may be empty.
template <class T>
void check_same_sizes(const Samples<T>& train, const Samples<T>& test) {
  if (test.n() > 0 && (test.d_in() != train.d_in() || test.d_out() != train.d_out()))
    throw std::invalid_argument("test: expected as many inputs and outputs as the training samples have");
}

void bind_samples(py::module_& m);
void bind_network(py::module_& m);
void bind_descent_chunk(py::module_& m);
void bind_gradient_descent32(py::module_& m);
void bind_gradient_descent64(py::module_& m);
void bind_predicted_gradient(py::module_& m);
void bind_geometry(py::module_& m);
void bind_proximal(py::module_& m);
void bind_curvature(py::module_& m);

}  // namespace zeroloss
