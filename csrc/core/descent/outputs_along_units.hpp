// F = H W with hidden units along the lanes: at levels below AVX-512 for all activations, at AVX-512 for all but ReLU
// on hot rows. Rows of E and W are read as they are stored, and nothing is transposed. The lanes of the sums are added
// up at the end.
#pragma once

#include "../../linalg/transpose.hpp"
#include "forward_product.hpp"

namespace zeroloss {

/// Loads H, or −H if `negated`, of two neighbouring samples, stored with `step` between strips of units.
template <class T, bool is_negated>
struct HiddenLoaded {
  static constexpr bool negated = is_negated;
  const T* H;
  Index step;

  [[gnu::always_inline]] void operator()(Index u, Vector<T>* h) const {
    h[0] = load(H + u * step);
    h[1] = load(H + u * step + lanes<T>);
  }
};

/// Computes −H = min(−E_a − E_b, 0) of two neighbouring pairs from strips of −E.
template <class T>
struct HiddenComputed {
  static constexpr bool negated = true;
  const T* E;
  Index step;
  std::uint32_t a_0, b_0, a_1, b_1;

  [[gnu::always_inline]] void operator()(Index u, Vector<T>* h) const {
    const T* e = E + u * step;
    h[0] = negative_part<T>(load(e + a_0) + load(e + b_0));
    h[1] = negative_part<T>(load(e + a_1) + load(e + b_1));
  }
};

/// Computes the same, and stores it in the form that HiddenLoaded reads.
template <class T>
struct HiddenComputedAndStored {
  static constexpr bool negated = true;
  HiddenComputed<T> computed;
  T* H;

  [[gnu::always_inline]] void operator()(Index u, Vector<T>* h) const {
    computed(u, h);
    store(H + u * 2 * lanes<T>, h[0]);
    store(H + (u * 2 + 1) * lanes<T>, h[1]);
  }
};

/// Sums of two neighbouring lanes: sums of a in the even lanes of the result, sums of b in the odd ones.
template <class T>
[[gnu::always_inline]] inline Vector<T> add_neighbours(Vector<T> a, Vector<T> b) {
  constexpr std::make_integer_sequence<int, lanes<T>> all;
  return detail::unpack<T, false>(a, b, all) + detail::unpack<T, true>(a, b, all);
}

/// K outputs of two samples over strips of units: sums[k] = add_neighbours(Σ_u h_0 w_k, Σ_u h_1 w_k), or += unless
/// `first`. W points at the first output and strip; a strip has W_rows registers. The registers of sums are `step`
/// apart.
template <int K, class T, class Hidden>
[[gnu::always_inline]] inline void neighbours_tile(const Hidden hidden, Index strips, const T* W, Index W_rows,
                                                   bool first, T* sums, Index step) {
  constexpr int L = lanes<T>;
  Vector<T> f[2][K]{};
  for (Index u = 0; u < strips; ++u, W += W_rows * L) {
    Vector<T> h[2];
    hidden(u, h);
#pragma GCC unroll 16
    for (int k = 0; k < K; ++k) {
      const Vector<T> w = load_once(W + k * L);
      f[0][k] = with_product<Hidden::negated>(f[0][k], w, h[0]);
      f[1][k] = with_product<Hidden::negated>(f[1][k], w, h[1]);
    }
  }
#pragma GCC unroll 16
  for (int k = 0; k < K; ++k) {
    Vector<T> sum = add_neighbours<T>(f[0][k], f[1][k]);
    if (!first) sum += load(sums + k * step);
    store(sums + k * step, sum);
  }
}

/// Sums over the lanes for a strip of samples, one sample in each lane of the result. `sums` has its L / 2 pairs of
/// neighbours as neighbours_tile writes them.
template <class T>
[[gnu::always_inline]] inline Vector<T> sum_lanes(const T* sums) {
  constexpr int L = lanes<T>, parts = static_cast<int>(register_bytes / 16);
  Vector<T> v[L / 2];
#pragma GCC unroll 8
  for (int j = 0; j < L / 2; ++j) v[j] = load(sums + j * L);
  if constexpr (sizeof(T) == 4) {  // pairs of lanes inside 128 bits
    constexpr std::make_integer_sequence<int, L / 2> all;
#pragma GCC unroll 8
    for (int j = 0; j < parts; ++j) {
      const auto a = (Vector<double>)v[2 * j], b = (Vector<double>)v[2 * j + 1];
      v[j] = (Vector<T>)detail::unpack<double, false>(a, b, all) + (Vector<T>)detail::unpack<double, true>(a, b, all);
    }
  }
  if constexpr (parts > 1) {
    constexpr std::make_integer_sequence<int, L> all;
#pragma GCC unroll 4
    for (int count = parts; count > 1; count /= 2)
#pragma GCC unroll 8
      for (int j = 0; j < count / 2; ++j)
        v[j] = detail::deal<T, false>(v[2 * j], v[2 * j + 1], all) + detail::deal<T, true>(v[2 * j], v[2 * j + 1], all);
  }
  return v[0];
}

/// Computes the outputs of the strips [begin, end) of samples. If there are more than two tiles of outputs, the first
/// one stores H of ReLU on pairs for the others. Computing H costs loads, additions and minima; storing it costs
/// stores, which on AMD's Zen 3 take the place of operands of multiply-adds.
template <class T>
class OutputsAlongUnits {
 public:
  OutputsAlongUnits(const ForwardProduct<T>& forward, Index begin, Index end, T* scratch)
      : forward_(forward),
        begin_(begin),
        end_(end),
        d_out_(forward.samples.d_out),
        sums_(scratch),
        H_(scratch + sums_size(d_out_)) {}

  static Index scratch_size(Index d_out) { return sums_size(d_out) + task_strips * L * block * L; }

  void compute() const {
    const Index all = strip_count<T>(forward_.h);
    for (Index first = 0; first < all; first += block)
      for (const OutputRange& tile : forward_.tiles) add_block(first, std::min(block, all - first), tile);
    for (Index s = begin_; s < end_; ++s)
      finish_outputs(forward_.initial_outputs(s), sums_ + (s - begin_) * d_out_ * step, broadcast(forward_.scale()),
                     d_out_, forward_.samples.G_of(s));
  }

 private:
  static constexpr int L = lanes<T>;
  static constexpr Index block = 32;        // strips of units; their H fits the L1 cache
  static constexpr Index step = L / 2 * L;  // the distance between two outputs of a strip of samples in the sums

  static Index sums_size(Index d_out) { return task_strips * d_out * step; }

  /// Adds one tile of outputs over one block of units.
  void add_block(Index first, Index strips, const OutputRange& tile) const {
    const auto compute_tile = [&](const auto& hidden) {
      with_number<forward_outputs>(tile.count, [&](auto K) { add_tile<K>(hidden, first, strips, tile.first); });
    };
    const Index first_sample = begin_ * L;
    if (forward_.recomputed) {
      if (tile.first == 0) store_recomputed(first, strips);
      return compute_tile([H = H_](Index j) { return HiddenLoaded<T, false>{H + 2 * j * block * L, 2 * L}; });
    }
    if (!forward_.relu_on_hot_rows)
      return compute_tile(
          [H = forward_.samples.H_of(first) + first_sample * L, stride = forward_.samples.hidden_stride * L](Index j) {
            return HiddenLoaded<T, false>{H + 2 * j * L, stride};
          });
    if constexpr (relu_along_units) add_relu_block(first, strips, tile, compute_tile);
  }

  /// The same for ReLU on hot rows.
  template <class F>
  void add_relu_block(Index first, Index strips, const OutputRange& tile, const F& compute_tile) const {
    if (forward_.samples.X.hot_count() != 2 && tile.first == 0) store_hidden(first, strips);
    if (forward_.samples.X.hot_count() != 2 || (forward_.tiles.size() > 2 && tile.first > 0))
      return compute_tile([H = H_](Index j) { return HiddenLoaded<T, true>{H + 2 * j * block * L, 2 * L}; });
    const HotRows<2> pairs = forward_.samples.X.template hot_rows<2>().from(begin_ * L);
    const auto computed = [E = forward_.E_of(first), stride = forward_.samples.X.d_in * L, x = pairs.offsets](Index j) {
      return HiddenComputed<T>{E, stride, x[4 * j], x[4 * j + 1], x[4 * j + 2], x[4 * j + 3]};
    };
    if (forward_.tiles.size() > 2)
      compute_tile([=, H = H_](Index j) { return HiddenComputedAndStored<T>{computed(j), H + 2 * j * block * L}; });
    else
      compute_tile(computed);
  }

  /// Stores −H of k-hot rows over one block of units, in the form that `add_block` reads.
  void store_hidden(Index first, Index strips) const {
    const HotRows<0> rows = forward_.samples.X.template hot_rows<0>().from(begin_ * L);
    for (Index u = 0; u < strips; ++u)
      store_strip(u, [&](Index i) { return negative_part<T>(rows.add_rows(forward_.E_of(first + u), i)); });
  }
  /// The same for H of a cheap activation on pairs.
  void store_recomputed(Index first, Index strips) const {
    with_cheap_functor<T>(*forward_.recomputed, [&](auto sigma) {
      for (Index u = 0; u < strips; ++u) {
        const HotRows<2> pairs = forward_.samples.X.template hot_rows<2>().from(begin_ * L);
        store_strip(u, [&](Index i) { return sigma(pairs.add_rows(forward_.E_of(first + u), i)).value; });
      }
    });
  }
  /// Stores h(i) of samples i for one strip of units.
  template <class H>
  void store_strip(Index u, const H& h) const {
    const Index count = (std::min(forward_.samples.n, end_ * L) - begin_ * L + 1) / 2 * 2;
    for (Index i = 0; i < count; ++i) store(H_ + ((i / 2 * block + u) * 2 + i % 2) * L, h(i));
  }

  /// The same for K outputs. hidden(j) is the way to H of pair j of neighbouring samples.
  template <int K, class Hidden>
  void add_tile(const Hidden& hidden, Index first, Index strips, Index k) const {
    const Index d_out = d_out_, count = (std::min(forward_.samples.n, end_ * L) - begin_ * L + 1) / 2;
    const T* const W = forward_.theta.W(first) + k * L;
    for (Index j = 0; j < count; ++j) {
      T* const sums = sums_ + (j / (L / 2) * d_out + k) * step + j % (L / 2) * L;
      neighbours_tile<K>(hidden(j), strips, W, d_out, first == 0, sums, step);
    }
  }

  /// Computes G = scale (start + sums) of a strip of samples.
  static void finish_outputs(const T* start, const T* sums, Vector<T> scale, Index d_out, T* G) {
    for (Index k = 0; k < d_out; ++k) store(G + k * L, scale * (load(start + k * L) + sum_lanes<T>(sums + k * step)));
  }

  const ForwardProduct<T>& forward_;
  const Index begin_, end_, d_out_;
  T *const sums_, *const H_;
};

}  // namespace zeroloss
