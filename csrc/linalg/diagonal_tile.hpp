// The Cholesky factor of one diagonal square of panels, and solves with it.
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

/// The elimination inside a block of tile_rows columns of A: each later column loses a multiple of each earlier one.
/// Then the columns are multiplied by their scales, which gives L.
template <class T>
class Elimination {
 public:
  static constexpr int size = tile_rows<T>;

  /// Finds the multiples from the block's square on the diagonal ([column][width]). The numbers are single ones, not
  /// vectors, because each pivot has to wait for the one before. Returns the column whose pivot failed and stores this
  /// pivot in the square, or returns -1. `diagonal` has the diagonal before any updates.
  Index find(T* square, const T* diagonal) {
    constexpr Index width = panel_width<T>;
    T a[size][size];
#pragma GCC unroll 8
    for (int c = 0; c < size; ++c) {
#pragma GCC unroll 8
      for (int r = c; r < size; ++r) a[c][r] = square[c * width + r];
    }
#pragma GCC unroll 8
    for (int c = 0; c < size; ++c) {
      const T pivot = a[c][c];
      if (!acceptable_pivot(pivot, diagonal[c])) {
        square[c * width + c] = pivot;
        return c;
      }
      const T reciprocal = 1 / pivot;  // the next pivot does not have to wait for its square root
      scale_[c] = std::sqrt(reciprocal);
#pragma GCC unroll 8
      for (int next = c + 1; next < size; ++next) {
        const T multiple = a[c][next] * reciprocal;
        multiple_[c][next] = multiple;
#pragma GCC unroll 8
        for (int r = next; r < size; ++r) a[next][r] -= multiple * a[c][r];
      }
    }
    return -1;
  }

  /// x ← x L⁻ᵀ for the square L and a tile of columns x.
  template <int N>
  [[gnu::always_inline]] void apply(Tile<T, N>& x) const {
#pragma GCC unroll 8
    for (int c = 0; c < size; ++c) {
#pragma GCC unroll 8
      for (int next = c + 1; next < size; ++next) {
        const Vector<T> multiple = broadcast_from(&multiple_[c][next]);
#pragma GCC unroll 8
        for (int v = 0; v < N; ++v) x.at[next][v] -= multiple * x.at[c][v];
      }
      const Vector<T> scale = broadcast_from(&scale_[c]);
#pragma GCC unroll 8
      for (int v = 0; v < N; ++v) x.at[c][v] *= scale;
    }
  }

  /// x ← L⁻ᵀ x for the square L and a tile of rows x.
  template <int N>
  [[gnu::always_inline]] void apply_transposed(Tile<T, N>& x) const {
#pragma GCC unroll 8
    for (int c = 0; c < size; ++c) {
      const Vector<T> scale = broadcast_from(&scale_[c]);
#pragma GCC unroll 8
      for (int v = 0; v < N; ++v) x.at[c][v] *= scale;
    }
#pragma GCC unroll 8
    for (int c = size - 1; c > 0; --c) {
#pragma GCC unroll 8
      for (int before = 0; before < c; ++before) {
        const Vector<T> multiple = broadcast_from(&multiple_[before][c]);
#pragma GCC unroll 8
        for (int v = 0; v < N; ++v) x.at[before][v] -= multiple * x.at[c][v];
      }
    }
  }

 private:
  T multiple_[size][size];  // [earlier column][later column]
  T scale_[size];
};

/// Solves X ← X L⁻ᵀ for a square L ([column][width], `size` columns in whole tiles) and N vectors of rows X, in place.
template <int N, class T>
void solve_square(const T* L, const Elimination<T>* eliminations, Index size, T* X) {
  constexpr Index width = panel_width<T>;
  for (Index begin = 0; begin < size; begin += tile_rows<T>) {
    T* const x = X + begin * width;
    Tile<T, N> tile;
    accumulate<Operand::columns>(tile, begin, L + begin, X);
    for_each_vector(tile, [&](int r, int v, Vector<T>& sum) { sum = load(x + r * width + v * lanes<T>) - sum; });
    eliminations[begin / tile_rows<T>].apply(tile);
    for_each_vector(tile, [&](int r, int v, const Vector<T>& sum) { store(x + r * width + v * lanes<T>, sum); });
  }
}

/// Factors A = L Lᵀ in place (A: lower part, [column][width], `size` columns in whole tiles) and keeps the eliminations.
/// `diagonal` has the diagonal before any updates. Returns the column whose pivot failed, or -1.
///
/// For each block of tile_rows columns, one product first subtracts the multiples of all earlier columns.
template <class T>
Index factor_square(T* A, Index size, const T* diagonal, Elimination<T>* eliminations) {
  constexpr Index width = panel_width<T>;
  constexpr Index step = lanes<T>;
  for (Index begin = 0; begin < size; begin += tile_rows<T>) {
    const Index end = begin + tile_rows<T>;
    const Index above = begin / step * step;  // rows in vectors wholly above the block
    T* const columns = A + begin * width + above;
    Elimination<T>& elimination = eliminations[begin / tile_rows<T>];
    Index failing = -1;
    with_vectors(static_cast<int>(ceil_div(size - above, step)), [&]<int N>() {
      if (begin > 0) detail::product_tile<Update::subtract, T, N>(begin, A + begin, A + above, columns);
      failing = elimination.find(columns + (begin - above), diagonal + begin);
      if (failing >= 0) return;
      Tile<T, N> tile;
      for_each_vector(tile, [&](int r, int v, Vector<T>& x) { x = load(columns + r * width + v * step); });
      elimination.apply(tile);
      for_each_vector(tile, [&](int r, int v, const Vector<T>& x) { store(columns + r * width + v * step, x); });
    });
    if (failing >= 0) return begin + failing;
    for (Index c = begin; c < end; ++c) std::fill_n(A + c * width, c, T{0});
  }
  return -1;
}

}  // namespace zeroloss
