// The inner loop of all products of panels: a sum of outer products is added to a tile of outputs in registers.
#pragma once

#include <algorithm>

#include "vector.hpp"

namespace zeroloss {

/// The width of a panel and of the widest tile, in vectors.
inline constexpr int panel_vectors = 3;

/// The width of a panel in entries.
template <class T>
inline constexpr int panel_width = panel_vectors * lanes<T>;

/// Whether products use half registers. On AMD's Zen 4, two multiply-adds of them take the time of a whole one.
inline constexpr bool has_halves = register_bytes == 64;

namespace detail {

/// The most rows of a tile that fits into the registers together with the operands. They divide the panel's width.
constexpr int fitting_rows(int width) {
  int rows = register_count == 32 ? 8 : 4;
  while (width % rows != 0 || rows * panel_vectors + panel_vectors + 1 > register_count) --rows;
  return rows;
}

}  // namespace detail

/// The rows of a tile.
template <class T>
inline constexpr int tile_rows = detail::fitting_rows(panel_width<T>);

/// A tile of outputs, R rows × N vectors, in registers. It has enough sums that no addition has to wait for the
/// previous one of the same sum. For this, a tile that is one vector wide has more rows if possible.
/// V is a whole or half a register.
template <class T, int N, int R = tile_rows<T>, class V = Vector<T>>
struct Tile {
  static constexpr int rows = R;
  V at[rows][N] = {};
};

/// How a product reads its broadcast operand A from a panel, [depth][width].
enum class Operand {
  columns,  ///< A(r, k) = a[k·width + r]: tile rows lie along the panel's width
  rows,     ///< A(r, k) = a[r·width + k]: tile rows lie along the panel's depth
};

/// How far the prefetched address moves in a step of the inner loop, in entries: half a long register. It is less for
/// short registers, whose panels are narrower, because more of them share the memory to be fetched.
template <class T>
inline constexpr Index fetch_stride = std::max(1, static_cast<int>(register_bytes) * lanes<T> / 128);

/// tile(r, :) += a[r · step] b[:].
template <int step = 1, class T, int N, int R, class V>
[[gnu::always_inline]] inline void accumulate_row(Tile<T, N, R, V>& tile, const T* a, const V (&b)[N]) {
#pragma GCC unroll 32
  for (int r = 0; r < R; ++r) {
    const V ar = first_lanes<V>(broadcast_from(a + r * step));
#pragma GCC unroll 8
    for (int v = 0; v < N; ++v) tile.at[r][v] += ar * b[v];
  }
}

/// tile(r, :) += Σ_k A(r, k) b[k·width + :], k < depth. If `fetch`, the loop also prefetches memory from `ahead` on
/// into the L2 cache. One request in every step costs less than counting steps.
template <Operand operand, bool fetch = false, class T, int N, int R, class V>
[[gnu::always_inline]] inline void accumulate(Tile<T, N, R, V>& tile, Index depth, const T* a, const T* b,
                                              const T* ahead = nullptr) {
  constexpr int width = panel_width<T>;
  constexpr int row_step = operand == Operand::columns ? 1 : width;
  constexpr int depth_step = operand == Operand::columns ? width : 1;
  for (Index k = 0; k < depth; ++k, a += depth_step, b += width) {
    if constexpr (fetch) {
      __builtin_prefetch(ahead, 0, 2);
      ahead += fetch_stride<T>;
    }
    V bk[N];
#pragma GCC unroll 8
    for (int v = 0; v < N; ++v) bk[v] = load<T, V>(b + v * lanes<T>);
    accumulate_row<row_step>(tile, a, bk);
  }
}

/// Calls f(r, v, vector) for every vector of the tile; r and v are known at compile time after unrolling.
template <class T, int N, int R, class V, class F>
[[gnu::always_inline]] inline void for_each_vector(Tile<T, N, R, V>& tile, const F& f) {
#pragma GCC unroll 32
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < N; ++v) f(r, v, tile.at[r][v]);
  }
}

/// Calls f.template operator()<R>() with R = rows, from 1 to tile_rows.
template <class T, int R = tile_rows<T>, class F>
[[gnu::always_inline]] inline void with_rows(std::ptrdiff_t rows, const F& f) {
  if constexpr (R > 1) {
    if (rows < R) return with_rows<T, R - 1>(rows, f);
  }
  f.template operator()<R>();
}

/// Calls f.template operator()<N>() with N = vectors, from 1 to panel_vectors.
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

/// Calls f.template operator()<V, N>(lane) for the first `count` numbers of a row of a panel: for N vectors V from
/// `lane` on. The vectors are whole ones, and then half a vector if it is enough for the rest.
template <class T, class F>
[[gnu::always_inline]] inline void with_parts(std::ptrdiff_t count, const F& f) {
  const std::ptrdiff_t halves = (count + lanes<T> / 2 - 1) / (lanes<T> / 2);
  const std::ptrdiff_t whole = has_halves ? halves / 2 : (halves + 1) / 2;
  if (whole > 0) with_vectors(static_cast<int>(whole), [&]<int N>() { f.template operator()<Vector<T>, N>(0); });
  if constexpr (has_halves) {
    if (halves % 2 != 0) f.template operator()<HalfVector<T>, 1>(whole * lanes<T>);
  }
}

}  // namespace zeroloss
