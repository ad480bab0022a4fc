// The parts of the module, each in a file of its own: check shapes, map, release the GIL, call, return.
#pragma once

#include "../core/rows.hpp"
#include "arrays.hpp"

namespace zeroloss {

void bind_samples(py::module_& m);
void bind_network(py::module_& m);
void bind_gradient_descent(py::module_& m);
void bind_predicted_gradient(py::module_& m);
void bind_geometry(py::module_& m);
void bind_proximal(py::module_& m);

}  // namespace zeroloss
