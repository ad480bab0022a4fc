// F = H W with samples along the lanes, for AVX-512: rows of Eᵀ are permuted to H, and where there are none H is
// transposed.
#pragma once

#include "forward_product.hpp"

namespace zeroloss {

inline constexpr Index block_units = 192;  // of H, transposed, in the L1 cache

/// The outputs of one task's strips of samples, a tile's or fewer.
template <class T, int strips>
class OutputsAlongSamples {
 public:
  OutputsAlongSamples(const ForwardProduct<T>& of, Index strip, T* H)
      : of_(of), set_(of.set), strip_(strip), d_out_(of.set.d_out), H_(H) {}

  void make() const {
    const Tiles all = of_.tiles;
    if (all.size() == 1 && with_permuted([&](const auto& hidden) { product(hidden, 0, of_.h, all); })) return;
    for (Index first = 0; first < of_.h; first += block_units) {
      const Index count = std::min(block_units, of_.h - first);
      Tiles left = all;
      if (with_permuted([&](const auto& hidden) {
            product(KeptHidden{hidden, first, H_}, first, count, all.last(1));  // none is smaller
          }))
        left = all.first(all.size() - 1);
      else
        for (Index u = 0; u < strip_count<T>(count); ++u)
          for (int s = 0; s < strips; ++s) transposed_hidden(first / L + u, s, H_ + (u * L * strips + s) * L);
      if (of_.fast)
        product(StoredOutputsHidden<T, strips, true>{H_}, first, count, left);
      else
        product(StoredOutputsHidden<T, strips, false>{H_}, first, count, left);
    }
  }

 private:
  static constexpr int L = lanes<T>;
  static_assert(block_units % L == 0);
  using Tiles = std::span<const OutputRange>;

  template <class Hidden>
  void product(const Hidden& hidden, Index first, Index count, Tiles tiles) const {
    T* const G = set_.G_of(strip_);
    const T *W = of_.theta.W(0) + first * d_out_, *start = first == 0 ? of_.start(strip_) : G;
    const T scale = first + count == of_.h ? of_.scale() : T{1};
    for (const auto [k, width] : tiles)
      with_number<forward_outputs>(width, [&](auto K) {
        outputs_tile<K, strips>(hidden, count, W + k * L, d_out_, start + k * L, G + k * L, d_out_, scale);
      });
  }

  /// Calls f with the PermutedHidden of these strips of samples; false where there is none.
  template <class F>
  bool with_permuted(const F& f) const {
    if (of_.sources == 0) return false;
    const StripGather<T>* gather = set_.gather.data() + strip_;
    if (std::all_of(gather, gather + strips, [](const auto& g) { return g.pure; }))
      return f(PermutedHidden<T, strips, false>(of_.E_transposed, of_.sources, gather)), true;
    if (of_.sources == 2) return f(PermutedHidden<T, strips, true>(of_.E_transposed, of_.sources, gather)), true;
    return false;
  }

  /// H of one strip of units and one strip of samples, to [unit][strips][lanes].
  void transposed_hidden(Index unit_strip, int s, T* H) const {
    const T* E = of_.theta.E(unit_strip);
    Vector<T> h[L];
    if (of_.fast) {
      const Pair* pair = set_.X.pairs() + (strip_ + s) * L;
#pragma GCC unroll 16
      for (int i = 0; i < L; ++i) {
        h[i] = negative_part<T>(load(E + pair[i].a) + load(E + pair[i].b));
      }
    } else {
      const T* rows = set_.H_of(unit_strip) + (strip_ + s) * L * L;
#pragma GCC unroll 16
      for (int i = 0; i < L; ++i) h[i] = load(rows + i * L);
    }
    transpose<T>(h);
#pragma GCC unroll 16
    for (int i = 0; i < L; ++i) store(H + i * strips * L, h[i]);
  }

  const ForwardProduct<T>& of_;
  DescentSamples<T>& set_;
  const Index strip_, d_out_;
  T* const H_;
};

}  // namespace zeroloss
