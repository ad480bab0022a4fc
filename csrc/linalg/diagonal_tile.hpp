// The Cholesky factor of one diagonal square of panels, and solves with it.
#pragma once

#include <array>
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
  template <int N, class V>
  [[gnu::always_inline]] void apply(Tile<T, N, size, V>& x) const {
#pragma GCC unroll 8
    for (int c = 0; c < size; ++c) {
#pragma GCC unroll 8
      for (int next = c + 1; next < size; ++next) {
        const V multiple = first_lanes<V>(broadcast_from(&multiple_[c][next]));
#pragma GCC unroll 8
        for (int v = 0; v < N; ++v) x.at[next][v] -= multiple * x.at[c][v];
      }
      const V scale = first_lanes<V>(broadcast_from(&scale_[c]));
#pragma GCC unroll 8
      for (int v = 0; v < N; ++v) x.at[c][v] *= scale;
    }
  }

  /// x ← L⁻ᵀ x for the square L and a tile of rows x.
  template <int N, class V>
  [[gnu::always_inline]] void apply_transposed(Tile<T, N, size, V>& x) const {
#pragma GCC unroll 8
    for (int c = 0; c < size; ++c) {
      const V scale = first_lanes<V>(broadcast_from(&scale_[c]));
#pragma GCC unroll 8
      for (int v = 0; v < N; ++v) x.at[c][v] *= scale;
    }
#pragma GCC unroll 8
    for (int c = size - 1; c > 0; --c) {
#pragma GCC unroll 8
      for (int before = 0; before < c; ++before) {
        const V multiple = first_lanes<V>(broadcast_from(&multiple_[before][c]));
#pragma GCC unroll 8
        for (int v = 0; v < N; ++v) x.at[before][v] -= multiple * x.at[c][v];
      }
    }
  }

 private:
  T multiple_[size][size];  // [earlier column][later column]
  T scale_[size];
};

/// Solves X ← X L⁻ᵀ for a square L ([column][width], `size` columns in whole tiles) and the first `used` rows of X, in
/// place.
template <class T>
void solve_square(const T* L, const Elimination<T>* eliminations, Index size, Index used, T* X) {
  constexpr Index width = panel_width<T>;
  with_parts<T>(used, [&]<class V, int N>(Index lane) {
    for (Index begin = 0; begin < size; begin += tile_rows<T>) {
      T* const x = X + begin * width + lane;
      Tile<T, N, tile_rows<T>, V> tile;
      accumulate<Operand::columns>(tile, begin, L + begin, X + lane);
      for_each_vector(tile, [&](int r, int v, V& sum) { sum = load<T, V>(x + r * width + v * lanes<T>) - sum; });
      eliminations[begin / tile_rows<T>].apply(tile);
      for_each_vector(tile, [&](int r, int v, const V& sum) { store(x + r * width + v * lanes<T>, sum); });
    }
  });
}

/// A vector of bits that are set in all lanes except the first `count` ones. The count may be negative.
template <class T>
Vector<T> mask_after(Index count) {
  using Bits = LaneInteger<T>;
  static constexpr auto bits = [] {
    std::array<Bits, 3 * panel_width<T>> values{};
    for (std::size_t i = panel_width<T>; i < values.size(); ++i) values[i] = ~Bits{0};
    return values;
  }();
  return (Vector<T>)load(bits.data() + panel_width<T> - count);
}

/// Factors A = L Lᵀ in place (A: lower part, [column][width], `size` columns in whole tiles) and keeps the
/// eliminations. Vectors wholly above the diagonal are not used. `diagonal` has the diagonal before any updates.
/// Returns the column whose pivot failed, or -1.
///
/// For each block of tile_rows columns, one product first subtracts the multiples of all earlier columns. The part that
/// does not contain the diagonal comes last, so that a processor can overlap it with the chain of pivots.
template <class T>
Index factor_square(T* A, Index size, const T* diagonal, Elimination<T>* eliminations) {
  using Bits = Vector<LaneInteger<T>>;
  constexpr Index width = panel_width<T>, step = lanes<T>;
  for (Index begin = 0; begin < size; begin += tile_rows<T>) {
    const Index above = begin / step * step;  // rows in vectors wholly above the block
    const Index offset = begin - above;
    T* const columns = A + begin * width + above;
    Elimination<T>& elimination = eliminations[begin / tile_rows<T>];
    Index failing = -1;
    with_vectors(static_cast<int>(ceil_div(size - above, step)), [&]<int N>() {
      constexpr int front = step % tile_rows<T> == 0 ? 1 : N;  // vectors that contain the diagonal
      if (begin > 0) {
        detail::product_tile<Update::subtract, T, front>(begin, A + begin, A + above, columns);
        if constexpr (N > front) {
          detail::product_tile<Update::subtract, T, N - front>(begin, A + begin, A + above + front * step,
                                                               columns + front * step);
        }
      }
      failing = elimination.find(columns + offset, diagonal + begin);
      if (failing >= 0) return;
      for (T* at = columns; at < columns + N * step; at += step) {  // one by one: the next block waits for the first
        Tile<T, 1> tile;
        for_each_vector(tile, [&](int r, int, Vector<T>& x) { x = load(at + r * width); });
        elimination.apply(tile);
        for_each_vector(tile, [&](int r, int, const Vector<T>& x) {
          store(at + r * width, (Vector<T>)((Bits)x & (Bits)mask_after<T>(offset + r - (at - columns))));
        });
      }
    });
    if (failing >= 0) return begin + failing;
  }
  return -1;
}

}  // namespace zeroloss
