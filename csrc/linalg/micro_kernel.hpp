// The one inner loop: a tile of outputs in registers gains a sum of outer products.
#pragma once

#include <algorithm>

#include "vector.hpp"

namespace zeroloss {

/// Vectors side by side in a panel, and in the widest tile.
inline constexpr int panel_vectors = 3;

/// Entries side by side in a panel.
template <class T>
inline constexpr int panel_width = panel_vectors * lanes<T>;

namespace detail {

/// The most rows, dividing the panel's width, whose tile fits the registers beside the operands.
constexpr int fitting_rows(int width) {
  int rows = register_count == 32 ? 8 : 4;
  while (width % rows != 0 || rows * panel_vectors + panel_vectors + 1 > register_count) --rows;
  return rows;
}

}  // namespace detail

/// Rows of a tile.
template <class T>
inline constexpr int tile_rows = detail::fitting_rows(panel_width<T>);

/// A tile of outputs, R rows × N vectors, that lives in registers. It holds so many sums that none waits for its
/// own last term: a tile one vector wide is taller where it can be.
template <class T, int N, int R = tile_rows<T>>
struct Tile {
  static constexpr int rows = R;
  Vector<T> at[rows][N] = {};
};

/// How the broadcast operand of a product is read out of its panel, [depth][width].
enum class Operand {
  columns,  ///< A(r, k) = a[k·width + r]: tile rows lie along the panel's width
  rows,     ///< A(r, k) = a[r·width + k]: tile rows lie along the panel's depth
};

/// Entries that a step of the inner loop fetches ahead: half of a long register, less of a short one, for its panels
/// are narrower and more of them share what is to be fetched.
template <class T>
inline constexpr Index fetch_stride = std::max(1, static_cast<int>(register_bytes) * lanes<T> / 128);

/// tile(r, :) += Σ_k A(r, k) b[k·width + :], k < depth. Beside it, memory from `ahead` on that is needed soon is
/// fetched into the L2 cache, if there is such: a request every step costs less than to count the steps.
template <Operand operand, bool fetch = false, class T, int N, int R>
[[gnu::always_inline]] inline void accumulate(Tile<T, N, R>& tile, Index depth, const T* a, const T* b,
                                              const T* ahead = nullptr) {
  constexpr int width = panel_width<T>;
  constexpr int row_step = operand == Operand::columns ? 1 : width;
  constexpr int depth_step = operand == Operand::columns ? width : 1;
  for (Index k = 0; k < depth; ++k, a += depth_step, b += width) {
    if constexpr (fetch) {
      __builtin_prefetch(ahead, 0, 2);
      ahead += fetch_stride<T>;
    }
    Vector<T> bk[N];
#pragma GCC unroll 8
    for (int v = 0; v < N; ++v) bk[v] = load(b + v * lanes<T>);
#pragma GCC unroll 32
    for (int r = 0; r < R; ++r) {
      const Vector<T> ark = broadcast_from(a + r * row_step);
#pragma GCC unroll 8
      for (int v = 0; v < N; ++v) tile.at[r][v] += ark * bk[v];
    }
  }
}

/// Applies f(r, v, vector) to every vector of the tile, at compile-time places.
template <class T, int N, int R, class F>
[[gnu::always_inline]] inline void for_each_vector(Tile<T, N, R>& tile, const F& f) {
#pragma GCC unroll 32
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < N; ++v) f(r, v, tile.at[r][v]);
  }
}

/// Calls f.template operator()<R>() with R = rows, a number from 1 to tile_rows.
template <class T, int R = tile_rows<T>, class F>
[[gnu::always_inline]] inline void with_rows(std::ptrdiff_t rows, const F& f) {
  if constexpr (R > 1) {
    if (rows < R) return with_rows<T, R - 1>(rows, f);
  }
  f.template operator()<R>();
}

/// Calls f.template operator()<N>() with N = vectors, a number from 1 to panel_vectors.
template <class F>
[[gnu::always_inline]] inline void with_vectors(int vectors, const F& f) {
  switch (vectors) {
    case 1:
      return f.template operator()<1>();
    case 2:
      return f.template operator()<2>();
    default:
      return f.template operator()<3>();
  }
}

}  // namespace zeroloss
