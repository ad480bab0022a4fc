// Blocks of P Pᵀ for a matrix P in panels. The Cholesky factor uses them to compute K, half of the work of a step, and
// for its updates.
#pragma once

#include "panels.hpp"

namespace zeroloss {

/// How a product P changes C: C = P, C += P, C -= P.
enum class Update { set, add, subtract };

namespace detail {

/// The depth of the products between two visits to C. A panel then takes 18 KiB, so that both panels stay in the L1
/// cache and the memory prefetched for the next visit also fits into the L2 cache.
inline constexpr Index depth_block = 18 * 1024 / (panel_vectors * static_cast<Index>(register_bytes));

/// The next slice if a depth of `left` remains: a block, or everything if this is less than one and a half blocks.
constexpr Index next_slice(Index left) { return left < depth_block * 3 / 2 ? left : depth_block; }

/// Changes a vector of C by a vector of P.
template <Update update, class T, class V>
[[gnu::always_inline]] inline void put(T* output, const V& sum) {
  if constexpr (update == Update::set) store(output, sum);
  if constexpr (update == Update::add) store(output, load<T, V>(output) + sum);
  if constexpr (update == Update::subtract) store(output, load<T, V>(output) - sum);
}

/// C(c, :) = / += / -= Σ_k a[k][c] b[k][:] for one tile. C is [tile rows][width].
template <Update update, class T, int N, int R = tile_rows<T>, bool fetch = false, class V = Vector<T>>
void product_tile(Index depth, const T* a, const T* b, T* c, const T* ahead = nullptr) {
  constexpr Index width = panel_width<T>;
  if constexpr (update != Update::set) {
    for (int r = 0; r < R; ++r) {
      for (int v = 0; v < N; ++v) __builtin_prefetch(c + r * width + v * lanes<T>, 1);
    }
  }
  Tile<T, N, R, V> tile;
  accumulate<Operand::columns, fetch>(tile, depth, a, b, ahead);
  for_each_vector(tile, [&](int r, int v, const V& sum) { put<update>(c + r * width + v * lanes<T>, sum); });
}

/// The same for a tile whose columns from `halved` on need only the upper half of the first vector, at the diagonal.
template <Update update, class T, int N, int R, int halved, bool fetch>
void diagonal_product_tile(Index depth, const T* a, const T* b, T* c, const T* ahead) {
  using Half = HalfVector<T>;
  constexpr Index width = panel_width<T>;
  constexpr int half = lanes<T> / 2;
  Vector<T> whole[R][N] = {};  // without the first vector of halved columns
  Half upper[R - halved] = {};
  for (Index k = 0; k < depth; ++k, a += width, b += width) {
    if constexpr (fetch) {
      __builtin_prefetch(ahead, 0, 2);
      ahead += fetch_stride<T>;
    }
    Vector<T> bk[N];
#pragma GCC unroll 8
    for (int v = halved == 0 ? 1 : 0; v < N; ++v) bk[v] = load(b + v * lanes<T>);
    const Half bk_upper = load<T, Half>(b + half);
#pragma GCC unroll 32
    for (int r = 0; r < R; ++r) {
      const Vector<T> ark = broadcast_from(a + r);
#pragma GCC unroll 8
      for (int v = r < halved ? 0 : 1; v < N; ++v) whole[r][v] += ark * bk[v];
      if (r >= halved) upper[r - halved] += first_lanes<Half>(ark) * bk_upper;
    }
  }
#pragma GCC unroll 32
  for (int r = 0; r < R; ++r) {
    T* const output = c + r * width;
#pragma GCC unroll 8
    for (int v = r < halved ? 0 : 1; v < N; ++v) put<update>(output + v * lanes<T>, whole[r][v]);
    if (r >= halved) put<update>(output + half, upper[r - halved]);
  }
}

}  // namespace detail

/// Memory to prefetch: the parts of the panels a and b that the next products will read.
template <class T>
struct Ahead {
  const T *a = nullptr, *b = nullptr;

  /// Returns the part for a tile of a product: of b and of a in turn.
  const T* source(Index tile, Index depth) const {
    return (tile % 2 == 0 ? b : a) + tile / 2 * depth * fetch_stride<T>;
  }
};

/// Computes columns of a product with one and a half vectors of rows. The half comes first, so that the whole vector
/// begins in the middle of one. Each number of A is loaded once for both.
template <Update update, class T>
void product_of_three_halves(Index depth, const T* a, Index columns, const T* b, T* c) {
  constexpr int half_rows = tile_rows<T> / 2, half = lanes<T> / 2;
  Index column = 0;
  while (column < columns) {
    with_rows<T, 3>((columns - column) / half_rows, [&]<int times>() {
      constexpr int R = times * half_rows;
      T* const output = c + column * panel_width<T> - half;
      detail::diagonal_product_tile<update, T, 2, R, 0, false>(depth, a + column, b - half, output, nullptr);
      column += R;
    });
  }
}

/// Computes one square of panels, C (width × width, [column][row]) = / += / -= A Bᵀ. Its columns belong to the entries
/// of panel a, its rows to the entries of panel b; both panels are [depth][width]. Only the first `columns` columns and
/// the first `used` rows are computed.
template <Update update, class T>
void panel_product(Index depth, const T* a, Index columns, const T* b, Index used, T* c, const Ahead<T>& ahead = {}) {
  constexpr int rows = tile_rows<T>, half_rows = rows / 2, width = panel_width<T>;
  if constexpr (has_halves) {
    if (ceil_div(used, lanes<T> / 2) == 3 && !ahead.a) return product_of_three_halves<update>(depth, a, columns, b, c);
  }
  with_parts<T>(used, [&]<class V, int N>(Index lane) {
    Index column = 0;
    while (column < columns) {
      const auto tile = [&]<int R, bool fetch = false>(const T* ahead_source = nullptr) {
        detail::product_tile<update, T, N, R, fetch, V>(depth, a + column, b + lane, c + column * width + lane,
                                                        ahead_source);
        column += R;
      };
      if constexpr (N == 1) {
        with_rows<T, 2 * panel_vectors>((columns - column) / half_rows,
                                        [&]<int times>() { tile.template operator()<times * half_rows>(); });
      } else if (ahead.a) {
        tile.template operator()<rows, true>(ahead.source(column / rows, depth));
      } else {
        tile.template operator()<rows>();
      }
    }
  });
}

/// Whether the transposed product needs fewer multiply-adds, because panel b leaves many lanes of its last vector
/// empty. The transpose of the result takes about as long as 8 multiply-adds for each of its vectors.
template <class T>
constexpr bool transposed_is_faster(Index depth, Index columns, Index used) {
  const Index empty = round_up(used, has_halves ? lanes<T> / 2 : lanes<T>) - used;
  return columns == panel_width<T> && empty * depth > 8 * round_up(used, lanes<T>);
}

/// The same as panel_product for all columns, by the product B Aᵀ and its transpose. The bits are the same.
template <Update update, class T>
void transposed_product(Index depth, const T* a, const T* b, Index used, T* c, const Ahead<T>& ahead = {}) {
  constexpr Index width = panel_width<T>;
  alignas(register_bytes) T product[width * width];
  for (Index row = 0; row < used; row += tile_rows<T>) {
    with_rows<T>(used - row, [&]<int R>() {
      T* const output = product + row * width;
      if (ahead.a) {
        const T* const source = ahead.source(row / tile_rows<T>, depth);
        detail::product_tile<Update::set, T, panel_vectors, R, true>(depth, b + row, a, output, source);
      } else {
        detail::product_tile<Update::set, T, panel_vectors, R>(depth, b + row, a, output);
      }
    });
  }
  std::fill(product + used * width, product + round_up(used, lanes<T>) * width, T{0});
  for (Index row = 0; row < used; row += lanes<T>) {
    for (Index column = 0; column < width; column += lanes<T>) {
      Vector<T> square[lanes<T>];
#pragma GCC unroll 16
      for (int r = 0; r < lanes<T>; ++r) square[r] = load(product + (row + r) * width + column);
      transpose<T>(square);
#pragma GCC unroll 16
      for (int r = 0; r < lanes<T>; ++r) detail::put<update>(c + (column + r) * width + row, square[r]);
    }
  }
}

/// The same for a square at the diagonal, of which only the part on and below the diagonal is computed.
template <Update update, class T>
void diagonal_product(Index depth, const T* a, Index columns, T* c, const Ahead<T>& ahead = {}) {
  constexpr int rows = tile_rows<T>, half_rows = rows / 2, width = panel_width<T>, middle = lanes<T> / 2;
  Index column = 0;
  while (column < columns) {
    const Index lane = column / lanes<T> * lanes<T>;  // of the vector on the diagonal
    const auto tile = [&]<int N, int R, bool fetch = false>(const T* ahead_source = nullptr) {
      const T *const a_tile = a + column, *const b_tile = a + lane;
      T* const c_tile = c + column * width + lane;
      if constexpr (has_halves) {
        if (column - lane >= middle) {
          detail::diagonal_product_tile<update, T, N, R, 0, fetch>(depth, a_tile, b_tile, c_tile, ahead_source);
        } else if constexpr (R > middle) {
          detail::diagonal_product_tile<update, T, N, R, middle, fetch>(depth, a_tile, b_tile, c_tile, ahead_source);
        } else {
          detail::product_tile<update, T, N, R, fetch>(depth, a_tile, b_tile, c_tile, ahead_source);
        }
      } else {
        detail::product_tile<update, T, N, R, fetch>(depth, a_tile, b_tile, c_tile, ahead_source);
      }
      column += R;
    };
    with_vectors(static_cast<int>(ceil_div(columns - lane, lanes<T>)), [&]<int N>() {
      if constexpr (N == 1) {
        with_rows<T, 2 * panel_vectors>((columns - column) / half_rows,
                                        [&]<int times>() { tile.template operator()<1, times * half_rows>(); });
      } else if (ahead.a) {
        tile.template operator()<N, rows, true>(ahead.source(column / rows, depth));
      } else {
        tile.template operator()<N, rows>();
      }
    });
  }
}

}  // namespace zeroloss
