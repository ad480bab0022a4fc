// H = max(Z, 0) and products with it for ReLU and pairs as inputs.
#pragma once

#include <array>

#include "../../linalg/select.hpp"
#include "../network/panel_inputs.hpp"

namespace zeroloss {

/// Writes the rows begin <= i < begin + count of a panel of H as columns (units of the panel × width).
template <class T>
void transpose_pairs(typename PanelInputs<T>::Pairs pairs, const T* E, int vectors, Index begin, Index count,
                     T* output) {
  constexpr Index width = panel_width<T>;
  for (Index i = 0; i < count; i += lanes<T>) {
    for (Index lane = 0; lane < vectors * lanes<T>; lane += lanes<T>) {
      Vector<T> square[lanes<T>];
#pragma GCC unroll 16
      for (int r = 0; r < lanes<T>; ++r) square[r] = at_least<T>(pairs.sum(begin + i + r, E + lane), Vector<T>{});
      transpose<T>(square);
#pragma GCC unroll 16
      for (int r = 0; r < lanes<T>; ++r) store(output + (lane + r) * width + i, square[r]);
    }
  }
}

/// Computes the rows begin <= i < end of a panel of H, and adds their products with B to a tile of W, or begins the sum
/// if begin = 0.
template <class T, int R, int N>
void multiply_pairs(typename PanelInputs<T>::Pairs pairs, const T* E, Index begin, Index end, const T* B, T* H, T* W) {
  constexpr Index width = panel_width<T>;
  Tile<T, N, R> tile;
  if (begin > 0) {
    for_each_vector(tile, [&](int r, int v, Vector<T>& sum) { sum = load(W + r * width + v * lanes<T>); });
  }
  for (Index i = begin; i < end; ++i) {
    Vector<T> h[N];
#pragma GCC unroll 8
    for (int v = 0; v < N; ++v) {
      h[v] = at_least<T>(pairs.sum(i, E + v * lanes<T>), Vector<T>{});
      store(H + i * width + v * lanes<T>, h[v]);
    }
    accumulate_row(tile, B + i * width, h);
  }
  for_each_vector(tile, [&](int r, int v, const Vector<T>& sum) { store(W + r * width + v * lanes<T>, sum); });
}

/// The most outputs for multiply_and_scatter_pairs: they are in one panel, and W of N vectors fits into the registers
/// next to four other numbers. With 16 registers, tiles of samples are faster.
template <class T, int N>
inline constexpr int most_pair_outputs = register_count == 32 ? std::min(panel_width<T>, 28 / N - 1) : 0;

/// Computes W = Hᵀ B (R × N vectors) and Xᵀ ((B Wᵀ) ⊙ [H > 0]) (d_in × N vectors) for N vectors of hidden units. E[v]
/// and W[v] point to vector v in the first row of their panels, `sums` to the second result in rows of panels. H is
/// workspace (n × N vectors).
///
/// Samples come one by one, so few stores come between many multiply-adds. On AMD's Zen 4, a store costs nothing if its
/// number was just computed, and more than a multiply-add if it has to wait for other stores.
template <class T, int R, int N>
void multiply_and_scatter_pairs(typename PanelInputs<T>::Pairs pairs, Index n, const std::array<T*, N>& E, const T* B,
                                T* H, const std::array<T*, N>& W, T* sums) {
  constexpr Index width = panel_width<T>;
  Tile<T, N, R> w;
  for (Index i = 0; i < n; ++i) {
    Vector<T> h[N];
#pragma GCC unroll 8
    for (int v = 0; v < N; ++v) {
      h[v] = at_least<T>(pairs.sum(i, E[v]), Vector<T>{});
      store(H + (i * N + v) * lanes<T>, h[v]);
    }
    accumulate_row(w, B + i * width, h);
  }
  for_each_vector(w, [&](int r, int v, const Vector<T>& x) { store(W[v] + r * width, x); });

  constexpr int parts = N == 1 ? 2 : 1;  // of a sum, because each addition waits for the one before
  for (Index i = 0; i < n; ++i) {
    Vector<T> sum[parts][N] = {};
#pragma GCC unroll 32
    for (int r = 0; r < R; ++r) {
      const Vector<T> b = broadcast_from(B + i * width + r);
#pragma GCC unroll 8
      for (int v = 0; v < N; ++v) sum[r % parts][v] += b * w.at[r][v];
    }
#pragma GCC unroll 8
    for (int v = 0; v < N; ++v) {
      if constexpr (parts == 2) sum[0][v] += sum[1][v];
      const Vector<T> h = load(H + (i * N + v) * lanes<T>);
      pairs.scatter(i, select_by_sign<T>(Vector<T>{} - h, sum[0][v], Vector<T>{}), sums + v * lanes<T>);
    }
  }
}

}  // namespace zeroloss
