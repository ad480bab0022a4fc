#include "activation.hpp"

namespace zeroloss {

template void activate(const Activation&, const float*, float*, float*, std::size_t);
template void activate(const Activation&, const float*, float*, std::size_t);
template void second_derivatives(const Activation&, const float*, float*, std::size_t);
template void activate(const Activation&, const double*, double*, double*, std::size_t);
template void activate(const Activation&, const double*, double*, std::size_t);
template void second_derivatives(const Activation&, const double*, double*, std::size_t);

}  // namespace zeroloss
