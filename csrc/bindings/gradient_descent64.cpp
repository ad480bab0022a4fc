// Gradient descent in float64.
#include "gradient_descent.hpp"

namespace zeroloss {

void bind_gradient_descent64(py::module_& m) { bind_descent<double>(m, "64"); }

}  // namespace zeroloss
