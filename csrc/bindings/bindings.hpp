// The parts of the module, each in a file of its own: check shapes, map, release the GIL, call, return.
#pragma once

#include "../core/network/inputs.hpp"
#include "arrays.hpp"

namespace zeroloss {

/// A number that a kernel takes for granted.
inline void check_at_least(const char* name, Index value, Index least) {
  if (value < least)
    throw std::invalid_argument(std::string(name) + ": expected at least " + std::to_string(least) + ", got " +
                                std::to_string(value));
}

/// What every kernel with a state takes for granted: a sample, an input and an output at least.
template <class T>
void check_not_empty(const Samples<T>& samples) {
  check_at_least("samples", samples.n(), 1);
  check_at_least("d_in", samples.d_in(), 1);
  check_at_least("d_out", samples.d_out(), 1);
}

/// What a kernel of two sets of samples takes for granted; a test set may be empty.
template <class T>
void check_same_sizes(const Samples<T>& train, const Samples<T>& test) {
  if (test.n() > 0 && (test.d_in() != train.d_in() || test.d_out() != train.d_out()))
    throw std::invalid_argument("test: expected the inputs and outputs of the training samples, got others");
}

void bind_samples(py::module_& m);
void bind_network(py::module_& m);
void bind_descent_chunk(py::module_& m);
void bind_gradient_descent32(py::module_& m);
void bind_gradient_descent64(py::module_& m);
void bind_predicted_gradient(py::module_& m);
void bind_geometry(py::module_& m);
void bind_proximal(py::module_& m);

}  // namespace zeroloss
