// The rows of E as activations that are computed again in each phase read them. Hidden biases b are included as E +
// b/k: the k rows of a sample then add up to Z with the bias, and the inner loops are the same with and without biases.
// For pairs and AVX-512 there is also a transpose. All of it is negated as E is, see gradient_descent.hpp.
#pragma once

#include "descent_hidden.hpp"

namespace zeroloss {

template <class T>
class GatheredRows {
 public:
  /// For `strips` strips of hidden units; empty unless it is in use. Only pairs have a transpose, if it is wanted.
  GatheredRows(const StripInputs<T>& X, bool in_use_, bool wants_transpose, Index strips)
      : in_use(in_use_),
        has_biases(in_use && X.has_constant()),
        registers_per_row(in_use && wants_transpose && X.hot_count() == 2 ? count_registers(X.split(), X.packed_rows())
                                                                          : 0),
        split(X.split()),
        share_(T(1) / static_cast<T>(std::max<Index>(X.hot_count(), 1))),
        d_in_(X.d_in),
        rows_(X.packed_rows()),
        with_biases_(has_biases ? strips * d_in_ * L : 0),
        transposed_(strips * L * registers_per_row * L + L * L) {}  // the last block is for HiddenByPermute

  /// The rows of strip u, of which E is the strip of E.
  const T* of(Index u, const T* E) const { return has_biases ? with_biases_.data() + u * d_in_ * L : E; }
  const T* transposed() const { return transposed_.data(); }

  /// Updates strip u from its strip of E.
  void update(Index u, const T* E) {
    if (has_biases) {
      T* const output = with_biases_.data() + u * d_in_ * L;
      const Vector<T> part = broadcast(share_) * load(E + rows_ * L);
      for (Index j = 0; j < rows_; ++j) store(output + j * L, load(E + j * L) + part);
    }
    if (registers_per_row > 0) transpose(u, [rows = of(u, E)](Index j) { return load(rows + j * L); });
  }

  /// Writes the transpose of strip u, one square block for each register of a row. row(j) returns row j of the strip.
  /// A new block begins at `split`.
  template <class Row>
  [[gnu::always_inline]] void transpose(Index u, const Row row) {
    T* output = transposed_.data() + u * registers_per_row * L * L;
    for (Index first = 0, count; first < rows_; first += count, output += L * L) {
      count = std::min<Index>(L, (first < split ? split : rows_) - first);
      Vector<T> v[L];
#pragma GCC unroll 16
      for (int r = 0; r < L; ++r) v[r] = r < count ? row(first + r) : Vector<T>{};
      zeroloss::transpose<T>(v);
#pragma GCC unroll 16
      for (int r = 0; r < L; ++r) store(output + r * L, v[r]);
    }
  }

  const bool in_use, has_biases;
  const Index registers_per_row;  // 0 if there is no transpose
  const Index split;

 private:
  static constexpr int L = lanes<T>;

  static Index count_registers(Index split, Index rows) {
    const Index count = strip_count<T>(split) + strip_count<T>(rows - split);
    return count <= max_registers_per_row ? count : 0;
  }

  const T share_;  // 1/k
  const Index d_in_, rows_;
  Buffer<T> with_biases_;  // [strip][d_in][lanes], as E
  Buffer<T> transposed_;   // [strip][register][lanes][lanes]
};

}  // namespace zeroloss
