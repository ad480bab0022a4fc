// F = H W with samples along the lanes, for AVX-512 and ReLU on hot rows, and for small problems with other activations
// that are cheap. H is computed by permuting rows of Eᵀ or, if Eᵀ is not used, by a transpose.
#pragma once

#include "forward_product.hpp"

namespace zeroloss {

inline constexpr Index block_units = 192;  // their H, transposed, fits the L1 cache

/// Computes the outputs of one task: of as many strips of samples as a tile has, or fewer.
template <class T, int strips>
class OutputsAlongSamples {
 public:
  OutputsAlongSamples(const ForwardProduct<T>& forward, Index strip, T* H)
      : forward_(forward), samples_(forward.samples), strip_(strip), d_out_(forward.samples.d_out), H_(H) {}

  /// For ReLU on hot rows.
  void compute() const {
    const Tiles tiles = forward_.tiles;
    if (tiles.size() == 1 &&
        with_hidden_by_permute([&](const auto& hidden) { multiply(hidden, 0, forward_.h, tiles); }))
      return;
    for (Index first = 0; first < forward_.h; first += block_units) {
      const Index count = std::min(block_units, forward_.h - first);
      Tiles remaining = tiles;
      if (with_hidden_by_permute([&](const auto& hidden) {
            constexpr int fewest = fewest_of_several(forward_outputs);
            multiply<fewest>(HiddenByPermuteAndStored{hidden, first, H_}, first, count,
                             tiles.last(1));  // the smallest tile
          }))
        remaining = tiles.first(tiles.size() - 1);
      else
        for (Index u = 0; u < strip_count<T>(count); ++u)
          for (int s = 0; s < strips; ++s) transpose_hidden(first / L + u, s, H_ + (u * L * strips + s) * L);
      multiply(HiddenLoadedAlongSamples<T, strips>{H_}, first, count, remaining);
    }
  }

  /// For a cheap activation, if there is one tile of outputs and the strips gather from few registers. Else computes
  /// nothing and returns false.
  bool compute_cheap() const {
    const Index registers = count_registers();
    if (!forward_.recomputed || forward_.tiles.size() > 1 || registers == 0 || registers > 2) return false;
    with_cheap_functor<T>(*forward_.recomputed, [&](auto sigma) {
      multiply(HiddenByPermute<T, strips, true, ValueOf<T, decltype(sigma)>>(
                   forward_.E_transposed, forward_.registers_per_row, samples_.gathers.data() + strip_, {sigma}),
               0, forward_.h, forward_.tiles);
    });
    return true;
  }

 private:
  static constexpr int L = lanes<T>;
  static_assert(block_units % L == 0);
  using Tiles = std::span<const OutputRange>;

  /// Adds the products of tiles with at least `fewest` outputs.
  template <int fewest = 1, class Hidden>
  void multiply(const Hidden& hidden, Index first, Index count, Tiles tiles) const {
    T* const G = samples_.G_of(strip_);
    const T *W = forward_.theta.W(0) + first * d_out_, *start = first == 0 ? forward_.initial_outputs(strip_) : G;
    const T scale = first + count == forward_.h ? forward_.scale() : T{1};
    for (const auto [k, width] : tiles)
      with_number<forward_outputs, fewest>(width, [&](auto K) {
        outputs_tile<K, strips>(hidden, count, W + k * L, d_out_, start + k * L, G + k * L, d_out_, scale);
      });
  }

  /// The most registers from which one of these strips of samples gathers a or b; 0 if Eᵀ is not used.
  Index count_registers() const {
    if (forward_.registers_per_row == 0) return 0;
    Index registers = 0;
    for (int s = 0; s < strips; ++s) registers = std::max(registers, samples_.gathers.data()[strip_ + s].registers);
    return registers;
  }

  /// Calls f with the HiddenByPermute of these strips of samples. Returns false if they have none.
  template <class F>
  bool with_hidden_by_permute(const F& f) const {
    const StripGather<T>* gathers = samples_.gathers.data() + strip_;
    const Index registers = count_registers();
    if constexpr (strips == tile_strips)  // A single strip is the last one, and its way hardly matters.
      if (registers == 1)
        return f(HiddenByPermute<T, strips, false>(forward_.E_transposed, forward_.registers_per_row, gathers)), true;
    if (registers == 0 || registers > 2) return false;
    return f(HiddenByPermute<T, strips, true>(forward_.E_transposed, forward_.registers_per_row, gathers)), true;
  }

  /// Writes −H of one strip of units and one strip of samples as [unit][strips][lanes].
  void transpose_hidden(Index unit_strip, int s, T* H) const {
    const T* E = forward_.E_of(unit_strip);
    Vector<T> h[L];
    const std::uint32_t* x = samples_.X.template hot_rows<0>().from((strip_ + s) * L).offsets;
    const Index k = samples_.X.hot_count();
#pragma GCC unroll 16
    for (int i = 0; i < L; ++i) h[i] = load(E + x[i * k]);
    for (Index e = 1; e < k; ++e)
#pragma GCC unroll 16
      for (int i = 0; i < L; ++i) h[i] += load(E + x[i * k + e]);
#pragma GCC unroll 16
    for (int i = 0; i < L; ++i) h[i] = negative_part<T>(h[i]);
    transpose<T>(h);
#pragma GCC unroll 16
    for (int i = 0; i < L; ++i) store(H + i * strips * L, h[i]);
  }

  const ForwardProduct<T>& forward_;
  DescentSamples<T>& samples_;
  const Index strip_, d_out_;
  T* const H_;
};

}  // namespace zeroloss
