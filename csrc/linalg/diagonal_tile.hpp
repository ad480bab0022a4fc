// The Cholesky factor of one diagonal square of panels, and the inverse of the factor.
#pragma once

#include <cmath>
#include <limits>

#include "symmetric_product.hpp"

namespace zeroloss {

/// Whether a pivot is large enough: it must be above the rounding errors of its sum.
template <class T>
bool acceptable_pivot(T pivot, T diagonal) {
  return pivot > 16 * std::numeric_limits<T>::epsilon() * diagonal;  // false for NaN
}

namespace detail {

/// Eliminates inside a block of tile_rows columns of A and rows of T, from which the multiples of all earlier columns
/// and rows have been subtracted: subtracts the multiples of column c and row c from the later ones. `columns` has the
/// block's columns from the vector of its first row on, N vectors each. `rows` has M vectors each. The pivot of column
/// c is at offset + c. Returns the column whose pivot failed, or -1.
template <int N, int M, class T>
Index eliminate_block(T* columns, T* rows, Index offset, const T* diagonal) {
  constexpr Index width = panel_width<T>;
  constexpr Index step = lanes<T>;
  for (Index c = 0; c < tile_rows<T>; ++c) {
    T* const column = columns + c * width;
    T* const row = rows + c * width;
    const T pivot = column[offset + c];
    if (!acceptable_pivot(pivot, diagonal[c])) return c;
    const T reciprocal = 1 / pivot;  // the next pivot does not have to wait for its square root
    Vector<T> l[N], t[M];
#pragma GCC unroll 8
    for (int v = 0; v < N; ++v) l[v] = load(column + v * step);
#pragma GCC unroll 8
    for (int v = 0; v < M; ++v) t[v] = load(row + v * step);
    for (Index next = c + 1; next < tile_rows<T>; ++next) {
      const Vector<T> factor = broadcast(column[offset + next] * reciprocal);
#pragma GCC unroll 8
      for (int v = 0; v < N; ++v) {
        T* const output = columns + next * width + v * step;
        store(output, load(output) - factor * l[v]);
      }
#pragma GCC unroll 8
      for (int v = 0; v < M; ++v) {
        T* const output = rows + next * width + v * step;
        store(output, load(output) - factor * t[v]);
      }
    }
    const Vector<T> scale = broadcast(std::sqrt(reciprocal));
#pragma GCC unroll 8
    for (int v = 0; v < N; ++v) store(column + v * step, l[v] * scale);
#pragma GCC unroll 8
    for (int v = 0; v < M; ++v) store(row + v * step, t[v] * scale);
  }
  return -1;
}

}  // namespace detail

/// Factors A = L Lᵀ in place (A: lower part, [column][width], `size` columns in whole tiles) and writes T = L⁻¹ to
/// `inverse` ([row][width], zero above the diagonal). `diagonal` has the diagonal before any updates. Returns the
/// column whose pivot failed, or -1.
///
/// Both result from one elimination of (A | I), tile_rows columns at a time. For each block of columns of A and rows of
/// T, one product first subtracts the multiples of all earlier ones.
template <class T>
Index factor_tile(T* A, Index size, const T* diagonal, T* inverse) {
  constexpr Index width = panel_width<T>;
  constexpr Index step = lanes<T>;
  std::fill_n(inverse, size * width, T{0});
  for (Index c = 0; c < size; ++c) inverse[c * width + c] = 1;
  for (Index begin = 0; begin < size; begin += tile_rows<T>) {
    const Index end = begin + tile_rows<T>;
    const Index above = begin / step * step;  // rows in vectors wholly above the block
    T* const columns = A + begin * width + above;
    T* const rows = inverse + begin * width;
    Index failing = -1;
    with_vectors(static_cast<int>(ceil_div(size - above, step)), [&]<int N>() {
      with_vectors(static_cast<int>(ceil_div(end, step)), [&]<int M>() {
        if (begin > 0) {
          detail::product_tile<Update::subtract, T, N>(begin, A + begin, A + above, columns);
          detail::product_tile<Update::subtract, T, M>(begin, A + begin, inverse, rows);
        }
        failing = detail::eliminate_block<N, M>(columns, rows, begin - above, diagonal + begin);
      });
    });
    if (failing >= 0) return begin + failing;
    for (Index c = begin; c < end; ++c) std::fill_n(A + c * width, c, T{0});
  }
  return -1;
}

}  // namespace zeroloss
