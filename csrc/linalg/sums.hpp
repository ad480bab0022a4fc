// Sums in double precision, always in the same order. They have several partial sums, to fill the registers.
#pragma once

#include "vector.hpp"

namespace zeroloss {

/// Σ_i term(i), i < count.
template <class Term>
double sum_of(Index count, const Term& term) {
  constexpr Index parts = 16;
  double part[parts] = {};
  Index i = 0;
  for (; i + parts <= count; i += parts)
    for (Index p = 0; p < parts; ++p) part[p] += term(i + p);
  for (; i < count; ++i) part[0] += term(i);
  for (Index half = parts / 2; half > 0; half /= 2)
    for (Index p = 0; p < half; ++p) part[p] += part[p + half];
  return part[0];
}

/// Σ a².
template <class T>
double sum_of_squares(const T* a, Index count) {
  return sum_of(count, [=](Index i) { return static_cast<double>(a[i]) * static_cast<double>(a[i]); });
}

}  // namespace zeroloss
