// How the tiles of a descent read H and where they write gH: one class for each way. Names that begin with Hidden
// belong to the forward tiles (H only), names that begin with Backward to the backward tiles (H and gH).
#pragma once

#include "../../linalg/permute.hpp"
#include "../../linalg/transpose.hpp"
#include "strip_inputs.hpp"

namespace zeroloss {

/// Loads −H, which is stored as [unit][strip][lanes] with samples along the lanes.
template <class T, int strips>
struct HiddenLoadedAlongSamples {
  static constexpr bool negated = true;
  const T* H;
  [[gnu::always_inline]] void operator()(Index unit, Vector<T>* h) const {
#pragma GCC unroll 4
    for (int s = 0; s < strips; ++s) h[s] = load(H + (unit * strips + s) * lanes<T>);
  }
};

/// The most registers in a row of Eᵀ (h × d_in, padded; stored as [h / lanes][register][lanes][lanes]). If rows are
/// longer, H is transposed instead. It is 0 below AVX-512, because outputs_along_units.hpp needs neither.
inline constexpr int max_registers_per_row = register_bytes == 64 ? 6 : 0;

/// How the samples of one strip gather their two numbers from a row of Eᵀ: all a from the register at first_a or the
/// next one, all b from the register at first_b or the next one. The index counts 32-bit words from there (two for a
/// double), so one permute serves both types.
template <class T>
struct StripGather {
  static constexpr int words = sizeof(T) / 4;
  std::int32_t a[lanes<T> * words], b[lanes<T> * words];
  Index first_a, first_b;
  Index registers;  // from which a or b are gathered, whichever are more

  /// For the strip of pairs that begins with the first one.
  StripGather(HotRows<2> pairs, Index split) : registers(1) {
    first_a = find_rows(pairs.offsets, split, a);
    first_b = find_rows(pairs.offsets + 1, split, b);
  }

 private:
  /// Writes the index of one number of each pair, counts its registers and returns the first row of the first one.
  Index find_rows(const std::uint32_t* offsets, Index split, std::int32_t* index) {
    constexpr int L = lanes<T>;
    std::int32_t rows[L];  // narrow integers and no branches, so the compiler uses registers
    for (int i = 0; i < L; ++i)
      rows[i] = transposed_row<T>(static_cast<std::int32_t>(offsets[2 * i] / L), static_cast<std::int32_t>(split));
    std::int32_t least = rows[0], most = rows[0];
    for (int i = 0; i < L; ++i) least = std::min(least, rows[i]), most = std::max(most, rows[i]);
    const std::int32_t first = least / L * L;
    registers = std::max<Index>(registers, most / L - least / L + 1);
    for (int i = 0; i < L * words; ++i) index[i] = (rows[i / words] - first) * words + i % words;
    return first;
  }
};

/// −H = min(−Z, 0) of ReLU, from −Z.
template <class T>
struct NegatedRelu {
  static constexpr bool negated = true;
  [[gnu::always_inline]] Vector<T> operator()(Vector<T> z) const { return negative_part<T>(z); }
};

/// H of another activation, from Z.
template <class T, class Sigma>
struct ValueOf {
  static constexpr bool negated = false;
  Sigma sigma;
  [[gnu::always_inline]] Vector<T> operator()(Vector<T> z) const { return sigma(z).value; }
};

/// Computes Z = E_a + E_b by permuting rows of Eᵀ, and H from it by a `Value`, which expects −E if it is negated. If
/// `mixed`, a strip may gather a, or b, from two registers. This is slower, because such a permute takes the place of
/// a multiply-add.
template <class T, int strips, bool mixed, class Value = NegatedRelu<T>>
struct HiddenByPermute {
  static constexpr bool negated = Value::negated;
  Value value;
  const T *row_a[strips], *row_b[strips];
  Index registers_per_row;
  Vector<std::int32_t> a[strips], b[strips];

  HiddenByPermute(const T* E_transposed, Index row_registers, const StripGather<T>* gather, Value value_ = {})
      : value(value_), registers_per_row(row_registers) {
    for (int s = 0; s < strips; ++s) {
      row_a[s] = E_transposed + gather[s].first_a * lanes<T>;
      row_b[s] = E_transposed + gather[s].first_b * lanes<T>;
      a[s] = load(gather[s].a);
      b[s] = load(gather[s].b);
    }
  }
  [[gnu::always_inline]] void operator()(Index unit, Vector<T>* h) const {
    const auto u = static_cast<std::size_t>(unit), L = static_cast<std::size_t>(lanes<T>);
    const std::size_t offset = (u / L * static_cast<std::size_t>(registers_per_row) * L + u % L) * L;
#pragma GCC unroll 4
    for (int s = 0; s < strips; ++s) {
      h[s] = value(pick(row_a[s] + offset, a[s]) + pick(row_b[s] + offset, b[s]));
    }
  }

 private:
  [[gnu::always_inline]] static Vector<T> pick(const T* row, Vector<std::int32_t> index) {
    const auto low = (Vector<float>)load(row);
    if constexpr (!mixed) return (Vector<T>)permute(low, index);
    return (Vector<T>)permute(low, (Vector<float>)load(row + lanes<T> * lanes<T>), index);
  }
};

/// Computes the same from unit `first` on, and stores it in the form that HiddenLoadedAlongSamples reads.
template <class T, int strips, bool mixed>
struct HiddenByPermuteAndStored {
  static constexpr bool negated = true;
  const HiddenByPermute<T, strips, mixed>& computed;
  Index first;
  T* H;
  [[gnu::always_inline]] void operator()(Index unit, Vector<T>* h) const {
    computed(first + unit, h);
#pragma GCC unroll 4
    for (int s = 0; s < strips; ++s) store(H + (unit * strips + s) * lanes<T>, h[s]);
  }
};

/// gH ⊙ σ'(Z) of sample i. S has σ'(Z), and is null for ReLU, for which it is 1 if H > 0 and else 0.
template <class T>
[[gnu::always_inline]] inline Vector<T> times_slope(Vector<T> gH, Vector<T> h, const T* S, Index i) {
  return S ? gH * load(S + i * lanes<T>) : select_by_sign<T>(Vector<T>{} - h, gH, Vector<T>{});
}

/// Loads H and σ'(Z), stored as [sample][lanes]. Stores gH between tiles, and in the last tile gZ = gH ⊙ σ'(Z).
template <class T, bool is_first, bool is_last>
struct BackwardLoaded {
  static constexpr bool negated = false, first = is_first, last = is_last, has_pairs = false;
  const T *H, *S;
  T* gH;
  [[gnu::always_inline]] Vector<T> hidden(Index i) const { return load(H + i * lanes<T>); }
  [[gnu::always_inline]] Vector<T> gradient_so_far(Index i) const { return load(gH + i * lanes<T>); }
  [[gnu::always_inline]] void finish(Index i, Vector<T> h, Vector<T> d) const {
    store(gH + i * lanes<T>, last ? times_slope<T>(d, h, S, i) : d);
  }
};

/// For ReLU on k-hot rows, with −E. Computes −H = min(−E_a − E_b − …, 0) in the first tile. In the last tile,
/// −gE_a −= gZ, −gE_b −= gZ, … with gZ = gH ⊙ (−H < 0).
template <class T, bool is_first, bool is_last, int k>
struct BackwardRelu {
  static constexpr bool negated = true, first = is_first, last = is_last, has_pairs = k == 2;
  const T* E;
  T* gE;
  HotRows<k> rows;
  T *H, *gH;  // [sample][lanes], between tiles

  [[gnu::always_inline]] Vector<T> hidden(Index i) const {
    if constexpr (!first) return load(H + i * lanes<T>);
    const Vector<T> h = negative_part<T>(rows.add_rows(E, i));
    if constexpr (!last) store(H + i * lanes<T>, h);
    return h;
  }
  [[gnu::always_inline]] Vector<T> gradient_so_far(Index i) const { return load(gH + i * lanes<T>); }
  [[gnu::always_inline]] void finish(Index i, Vector<T> h, Vector<T> d) const {
    if constexpr (last)
      rows.template add_to_rows<true>(gE, i, select_by_sign<T>(h, d, Vector<T>{}));
    else
      store(gH + i * lanes<T>, d);
  }
  /// The same for number b of a pair. Returns gZ, whose sum over a group of pairs with the same a is for `finish_a`.
  [[gnu::always_inline]] Vector<T> finish_b(Index i, Vector<T> h, Vector<T> d) const {
    const Vector<T> gZ = select_by_sign<T>(h, d, Vector<T>{});
    add_to<true>(gE + rows.offsets[2 * i + 1], gZ);
    return gZ;
  }
  [[gnu::always_inline]] void finish_a(Index i, Vector<T> gZ) const { add_to<true>(gE + rows.offsets[2 * i], gZ); }
};

/// For a cheap activation on pairs, in small problems with one tile. Computes H = σ(E_a + E_b), and gE_a += gZ and
/// gE_b += gZ with gZ = gH ⊙ σ'(Z).
template <class T, class Sigma>
struct BackwardComputed {
  static constexpr bool negated = false, first = true, last = true, has_pairs = true;
  Sigma sigma;
  const T* E;
  T* gE;
  HotRows<2> pairs;

  [[gnu::always_inline]] Vector<T> hidden(Index i) const { return sigma(pairs.add_rows(E, i)).value; }
  [[gnu::always_inline]] Vector<T> gradient_so_far(Index) const { return Vector<T>{}; }
  [[gnu::always_inline]] void finish(Index i, Vector<T> h, Vector<T> d) const { finish_a(i, finish_b(i, h, d)); }
  [[gnu::always_inline]] Vector<T> finish_b(Index i, Vector<T>, Vector<T> d) const {
    const Vector<T> gZ = d * sigma(pairs.add_rows(E, i)).slope;
    add_to<false>(gE + pairs.offsets[2 * i + 1], gZ);
    return gZ;
  }
  [[gnu::always_inline]] void finish_a(Index i, Vector<T> gZ) const { add_to<false>(gE + pairs.offsets[2 * i], gZ); }
};

/// For other activations on pairs, in the last tile. Loads H and σ'(Z). gE_a += gZ and gE_b += gZ with gZ = gH ⊙ σ'(Z).
template <class T, bool is_first>
struct BackwardLoadedPairs {
  static constexpr bool negated = false, first = is_first, last = true, has_pairs = true;
  const T *H, *S;
  T* gE;
  HotRows<2> pairs;
  const T* gH;  // [sample][lanes], of the tiles before

  [[gnu::always_inline]] Vector<T> hidden(Index i) const { return load(H + i * lanes<T>); }
  [[gnu::always_inline]] Vector<T> gradient_so_far(Index i) const { return load(gH + i * lanes<T>); }
  [[gnu::always_inline]] void finish(Index i, Vector<T> h, Vector<T> d) const { finish_a(i, finish_b(i, h, d)); }
  [[gnu::always_inline]] Vector<T> finish_b(Index i, Vector<T> h, Vector<T> d) const {
    const Vector<T> gZ = times_slope<T>(d, h, S, i);
    add_to<false>(gE + pairs.offsets[2 * i + 1], gZ);
    return gZ;
  }
  [[gnu::always_inline]] void finish_a(Index i, Vector<T> gZ) const { add_to<false>(gE + pairs.offsets[2 * i], gZ); }
};

}  // namespace zeroloss
