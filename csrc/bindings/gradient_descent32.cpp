// Gradient descent in float32.
#include "gradient_descent.hpp"

namespace zeroloss {

void bind_gradient_descent32(py::module_& m) { bind_descent<float>(m, "32"); }

}  // namespace zeroloss
