// The type of sizes and indices, and its division that rounds up.
#pragma once

#include <cstddef>

namespace zeroloss {

using Index = std::ptrdiff_t;

constexpr Index ceil_div(Index a, Index b) { return (a + b - 1) / b; }
constexpr Index round_up(Index a, Index b) { return ceil_div(a, b) * b; }

}  // namespace zeroloss
