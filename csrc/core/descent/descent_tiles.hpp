// The two register tiles of a descent step: the inner loops of F = H W and of gH = G Wᵀ, gW = Hᵀ G. Both hold K outputs
// of one block in registers and run along the other index. K is a template argument; `with_number` supplies it.
#pragma once

#include <type_traits>
#include <vector>

#include "../../linalg/select.hpp"
#include "../../linalg/strips.hpp"
#include "optimizer.hpp"

namespace zeroloss {

/// The most outputs in a tile. 2 K sums, the operands and the temporaries fit into the registers.
inline constexpr int forward_outputs = register_count == 32 ? 12 : 6;
inline constexpr int backward_outputs = register_count == 32 ? 13 : 6;
/// Strips of samples in a forward tile.
inline constexpr int tile_strips = 2;

/// A number known at compile time.
template <int number>
using Number = std::integral_constant<int, number>;

/// Calls f(Number<N>) with N = number, min <= number <= max.
template <int max, int min = 1, class F>
[[gnu::always_inline]] inline void with_number(Index number, F&& f) {
  if (number == max) {
    f(Number<max>{});
  } else if constexpr (max > min) {
    with_number<max - 1, min>(number, f);
  }
}

/// Calls f with both conditions as compile-time constants.
template <class F>
void with_ends(bool first, bool last, const F& f) {
  if (first && last)
    f(std::true_type{}, std::true_type{});
  else if (first)
    f(std::true_type{}, std::false_type{});
  else if (last)
    f(std::false_type{}, std::true_type{});
  else
    f(std::false_type{}, std::false_type{});
}

/// The outputs [first, first + count).
struct OutputRange {
  Index first, count;
};

/// Cuts d_out outputs into as few tiles as possible, of at most `max_outputs` and of nearly equal size.
inline std::vector<OutputRange> cut_outputs(Index d_out, Index max_outputs) {
  const Index tiles = (d_out + max_outputs - 1) / max_outputs;
  std::vector<OutputRange> ranges;
  for (Index t = 0, first = 0; t < tiles; first += ranges[t++].count)
    ranges.push_back({first, d_out / tiles + (t < d_out % tiles)});
  return ranges;
}

/// The fewest outputs in a tile if there are several.
constexpr int fewest_of_several(int max_outputs) { return (max_outputs + 1) / 2; }

/// min(z, 0). A NaN stays a NaN.
template <class T>
[[gnu::always_inline]] inline Vector<T> negative_part(Vector<T> z) {
  return at_most<T>(z, Vector<T>{});
}

/// sum + sign · a b, one fused multiply-add.
template <bool negated, class V>
[[gnu::always_inline]] inline V with_product(V sum, V a, V b) {
  if constexpr (negated) return sum - a * b;
  return sum + a * b;
}

/// The most rows in a tile of a product with dense inputs. Their sums and the operands fit into 16 registers.
inline constexpr int dense_rows = 12;

/// C_r = finish(start_r + Σ_t A(r, t) B_t) for R rows of a strip, with A(r, t) = A[r · row_stride + t · step] and
/// t < count. If start is null, it is zero.
template <int R, class T, class Finish>
void multiply_tile(const T* A, Index row_stride, Index step, const T* B, Index count, const T* start, T* C,
                   const Finish& finish) {
  constexpr int L = lanes<T>;
  Vector<T> c[R];
#pragma GCC unroll 12
  for (int r = 0; r < R; ++r) c[r] = start ? load(start + r * L) : Vector<T>{};
  for (Index t = 0; t < count; ++t, A += step) {
    const Vector<T> b = load(B + t * L);
#pragma GCC unroll 12
    for (int r = 0; r < R; ++r) c[r] += broadcast_from(A + r * row_stride) * b;
  }
#pragma GCC unroll 12
  for (int r = 0; r < R; ++r) store(C + r * L, finish(c[r]));
}

/// F[:, block] = scale (start + H W[:, block]) for `strips` strips of samples and a block of K outputs. hidden(u, h)
/// writes H, or −H if `negated`, of unit u for the samples of each strip. W, start and F point at the first output of
/// the block.
template <int K, int strips, class T, class Hidden>
void outputs_tile(const Hidden hidden, Index units, const T* W, Index W_rows, const T* start, T* F, Index F_rows,
                  T scale) {
  constexpr int L = lanes<T>;
  constexpr int together = 2;  // units in a step of the loop; neighbours in a strip of W
  static_assert(L % together == 0);
  Vector<T> f[strips][K];
#pragma GCC unroll 4
  for (int s = 0; s < strips; ++s)
#pragma GCC unroll 16
    for (int k = 0; k < K; ++k) f[s][k] = load(start + (s * F_rows + k) * L);
  const auto add = [&]<int count>(Number<count>, Index u) __attribute__((always_inline)) {
    const T* w = W + strip_offset<T>(W_rows, 0, u);
#pragma GCC unroll 2
    for (int j = 0; j < count; ++j) {
      Vector<T> h[strips];
      hidden(u + j, h);
#pragma GCC unroll 16
      for (int k = 0; k < K; ++k) {
        const Vector<T> w_uk = broadcast_from(w + k * L + j);
#pragma GCC unroll 4
        for (int s = 0; s < strips; ++s) f[s][k] = with_product<Hidden::negated>(f[s][k], w_uk, h[s]);
      }
    }
  };
  Index u = 0;  // one loop over all strips of W, so only its end is mispredicted
  for (; u + together <= units; u += together) add(Number<together>{}, u);
  if (u < units) add(Number<1>{}, u);
#pragma GCC unroll 4
  for (int s = 0; s < strips; ++s)
#pragma GCC unroll 16
    for (int k = 0; k < K; ++k) store(F + (s * F_rows + k) * L, f[s][k] * broadcast(scale));
}

/// Samples in a group that share a number. One addition into the number's row of gE serves the whole group. It is 1 at
/// levels whose tiles have no register left for the sum.
template <class T>
inline constexpr int pair_group = register_count == 32 ? 1 : std::min(4, lanes<T>);

/// The arguments of gradients_tile. The arrays start at the first output of the tile.
template <class T>
struct GradientsTile {
  Index samples, grouped;  // samples of this chunk; how many of them are in groups
  const T* G;              // [sample strip][G_rows][lanes], samples along the lanes
  Index G_rows;
  T *W, *gW;                  // [output][lanes] of one strip of hidden units
  bool first, last;           // whether this is the first, the last chunk of samples
  const Step<T>* plain_step;  // the step that W takes after the last chunk; null unless it is a plain one
};

/// For one strip of hidden units, K outputs and one chunk of samples, computes gH = G Wᵀ, which backward.finish gets,
/// and gW += Hᵀ G. After the last chunk, W takes its step if it is a plain one.
template <int K, class T, class Backward>
void gradients_tile(const Backward backward, const GradientsTile<T>& t) {
  constexpr int L = lanes<T>;
  constexpr int partial_sums = std::min(K, 2);            // sums for each gH, so that the chains of additions are short
  constexpr int together = register_count == 32 ? 2 : 1;  // samples in a step; neighbours in a strip of G
  static_assert(L % together == 0);
  Vector<T> w[K], g[K];
#pragma GCC unroll 16
  for (int k = 0; k < K; ++k) {
    w[k] = load(t.W + k * L);
    g[k] = Vector<T>{};
  }
  if (!t.first)
#pragma GCC unroll 16
    for (int k = 0; k < K; ++k) g[k] = load(t.gW + k * L);
  const T* const G = t.G;
  const Index samples = t.samples, G_rows = t.G_rows;
  const auto add = [&]<int count>(Number<count>, const T* r, Index i, const auto& put) __attribute__((always_inline)) {
    Vector<T> h[count], d[count][partial_sums];
#pragma GCC unroll 2
    for (int s = 0; s < count; ++s) h[s] = backward.hidden(i + s);
#pragma GCC unroll 16
    for (int k = 0; k < K; ++k)
#pragma GCC unroll 2
      for (int s = 0; s < count; ++s) {
        const Vector<T> r_ik = broadcast_from(r + k * L + s);
        g[k] = with_product<Backward::negated>(g[k], r_ik, h[s]);
        if (k >= partial_sums)
          d[s][k % partial_sums] += r_ik * w[k];
        else if (k == 0 && !Backward::first)
          d[s][0] = backward.gradient_so_far(i + s) + r_ik * w[0];
        else
          d[s][k] = r_ik * w[k];
      }
#pragma GCC unroll 2
    for (int s = 0; s < count; ++s) {
#pragma GCC unroll 2
      for (int part = 1; part < partial_sums; ++part) d[s][0] += d[s][part];
      put(i + s, h[s], d[s][0]);
    }
  };
  const auto finish_sample = [&](Index i, Vector<T> h, Vector<T> d) { backward.finish(i, h, d); };
  constexpr int unrolled = register_count == 32 ? together : pair_group<T>;  // samples in a step that share an address
  Index i = 0;
  if constexpr (Backward::last && Backward::has_pairs && pair_group<T> > 1)
    for (; i < t.grouped; i += unrolled) {
      const T* r = G + strip_offset<T>(G_rows, 0, i);
      Vector<T> shared{};
#pragma GCC unroll 4
      for (int s = 0; s < unrolled; ++s)
        add(Number<1>{}, r + s, i + s,
            [&](Index j, Vector<T> h, Vector<T> d) { shared += backward.finish_b(j, h, d); });
      backward.finish_a(i, shared);
    }
  for (; i + unrolled <= samples; i += unrolled) {
    const T* r = G + strip_offset<T>(G_rows, 0, i);
#pragma GCC unroll 4
    for (int s = 0; s < unrolled; s += together) add(Number<together>{}, r + s, i + s, finish_sample);
  }
  for (; i < samples; ++i) add(Number<1>{}, G + strip_offset<T>(G_rows, 0, i), i, finish_sample);
  if (!t.last || !t.plain_step) {
#pragma GCC unroll 16
    for (int k = 0; k < K; ++k) store(t.gW + k * L, g[k]);
    return;
  }
  const Step<T> step = *t.plain_step;
#pragma GCC unroll 16
  for (int k = 0; k < K; ++k) store(t.W + k * L, step(w[k], g[k]));
}

}  // namespace zeroloss
