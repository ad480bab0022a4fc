// The inputs X (n × d_in), sparse or dense, for products with a panel of hidden units: packed by sample for Z = X E,
// and by input for Xᵀ G.
#pragma once

#include <cstdint>
#include <vector>

#include "../../linalg/panels.hpp"
#include "inputs.hpp"

namespace zeroloss {

template <class T>
class PanelInputs {
  /// Offsets of the rows a and b in a panel of E.
  struct Pair {
    Index a, b;
  };

 public:
  static constexpr Index width = panel_width<T>;

  explicit PanelInputs(const SparseInputs<T>& X) : n_(X.n()), d_in_(X.d_in), row_start_(X.starts) {
    by_sample_.reserve(X.columns.size());
    for (std::size_t e = 0; e < X.columns.size(); ++e) by_sample_.push_back({X.columns[e], X.values[e]});
    find_pairs();
    sort_by_input();
  }

  explicit PanelInputs(const DenseInputs<T>& X)
      : n_(X.n()), d_in_(X.X.cols()), dense_samples_(n_, d_in_), dense_inputs_(d_in_, n_) {
    dense_inputs_.assign_rows(X.X.data(), n_);
    for (Index i = 0; i < n_; ++i) {
      for (Index d = 0; d < d_in_; ++d) dense_samples_(d, i) = X.X(i, d);
    }
  }

  Index n() const { return n_; }
  Index d_in() const { return d_in_; }

  /// Whether every sample is a sum of two rows of E.
  bool has_pairs() const { return !pairs_.empty(); }

  /// The inputs as pairs of rows of a panel (d_in + 1 × width). The samples n <= i < round_up(n, width) have Z = 0.
  class Pairs {
   public:
    /// Returns a vector of Z(i, :) = (X E)(i, :). E points to this vector in the first row of E.
    [[gnu::always_inline]] Vector<T> sum(Index i, const T* E) const {
      return load(E + pairs_[i].a) + load(E + pairs_[i].b);
    }
    /// Adds a vector of G(i, :) to Xᵀ G. `sums` points to this vector in the first row of Xᵀ G.
    [[gnu::always_inline]] void scatter(Index i, const Vector<T>& g, T* sums) const {
      T *const a = sums + pairs_[i].a, *const b = sums + pairs_[i].b;
      store(a, load(a) + g);
      store(b, load(b) + g);
    }

   private:
    friend PanelInputs;
    explicit Pairs(const Pair* pairs) : pairs_(pairs) {}
    const Pair* pairs_;
  };
  Pairs pairs() const { return Pairs(pairs_.data()); }

  /// Calls f(i, v, Z(i, vector v)) for the samples begin <= i < end. The range has whole tiles and may exceed n; Z = 0
  /// beyond n. E is a panel ((d_in + 1) × width) whose last row is zero.
  template <int N, class F>
  [[gnu::always_inline]] void preactivations(const T* E, Index begin, Index end, F f) const {
    if (dense_samples_.count() > 0) {
      for (Index i = begin; i < end; i += tile_rows<T>) {
        Tile<T, N> tile;
        accumulate<Operand::columns>(tile, d_in_, dense_samples_.panel(i / width) + i % width, E);
        for_each_vector(tile, [&](int r, int v, const Vector<T>& z) { f(i + r, v, z); });
      }
    } else if (has_pairs()) {
      const Pairs pairs(pairs_.data());
      for (Index i = begin; i < end; ++i) {
#pragma GCC unroll 8
        for (int v = 0; v < N; ++v) f(i, v, pairs.sum(i, E + v * lanes<T>));
      }
    } else {
      for (Index i = begin; i < end; ++i) {
        Vector<T> z[N] = {};
        if (i < n_) add_entries<N>(by_sample_, row_start_[at(i)], row_start_[at(i) + 1], E, z);
#pragma GCC unroll 8
        for (int v = 0; v < N; ++v) f(i, v, z[v]);
      }
    }
  }

  /// Calls f(d, v, (Xᵀ G)(d, vector v)) for every input d. G is a panel (n × width).
  template <int N, class F>
  [[gnu::always_inline]] void transposed_product(const T* G, F f) const {
    if (dense_inputs_.count() > 0) {
      for (Index d = 0; d < d_in_; d += tile_rows<T>) {
        Tile<T, N> tile;
        accumulate<Operand::columns>(tile, n_, dense_inputs_.panel(d / width) + d % width, G);
        for_each_vector(tile, [&](int r, int v, const Vector<T>& sum) {
          if (d + r < d_in_) f(d + r, v, sum);
        });
      }
    } else if (has_pairs()) {
      const Entry* entry = by_input_.data();  // all values are 1
      for (Index d = 0; d < d_in_; ++d) {
        Vector<T> sum[N] = {};
        for (const Entry* const end = by_input_.data() + input_start_[at(d + 1)]; entry < end; ++entry) {
          const T* const row = G + entry->other * width;
#pragma GCC unroll 8
          for (int v = 0; v < N; ++v) sum[v] += load(row + v * lanes<T>);
        }
#pragma GCC unroll 8
        for (int v = 0; v < N; ++v) f(d, v, sum[v]);
      }
    } else {
      for (Index d = 0; d < d_in_; ++d) {
        Vector<T> sum[N] = {};
        add_entries<N>(by_input_, input_start_[at(d)], input_start_[at(d) + 1], G, sum);
#pragma GCC unroll 8
        for (int v = 0; v < N; ++v) f(d, v, sum[v]);
      }
    }
  }

 private:
  struct Entry {
    Index other;  ///< the input in a list by sample, the sample in a list by input
    T value;
  };

  static std::size_t at(Index i) { return static_cast<std::size_t>(i); }

  /// sum(v) += Σ value · panel(other, v) over a range of entries.
  template <int N>
  [[gnu::always_inline]] static inline void add_entries(const std::vector<Entry>& entries, Index begin, Index end,
                                                        const T* panel, Vector<T> (&sum)[N]) {
    for (Index e = begin; e < end; ++e) {
      const Entry& entry = entries[at(e)];
      const Vector<T> value = broadcast(entry.value);
      const T* const input_row = panel + entry.other * width;
#pragma GCC unroll 8
      for (int v = 0; v < N; ++v) sum[v] += value * load(input_row + v * lanes<T>);
    }
  }

  void sort_by_input() {
    input_start_.assign(at(d_in_ + 1), 0);
    for (const Entry& entry : by_sample_) ++input_start_[at(entry.other) + 1];
    for (Index d = 0; d < d_in_; ++d) input_start_[at(d) + 1] += input_start_[at(d)];
    by_input_.resize(by_sample_.size());
    std::vector<Index> next = input_start_;
    for (Index i = 0; i < n_; ++i) {
      for (Index e = row_start_[at(i)]; e < row_start_[at(i) + 1]; ++e) {
        const Entry& entry = by_sample_[at(e)];
        by_input_[at(next[at(entry.other)]++)] = {i, entry.value};
      }
    }
  }

  /// Fills pairs_ if all rows are sums e_a + e_b, given as two entries 1 or as one entry 2. Then each row has two
  /// entries 1 in the list by sample.
  void find_pairs() {
    for (Index i = 0; i < n_; ++i) {
      const Entry* row = by_sample_.data() + row_start_[at(i)];
      const Index count = row_start_[at(i) + 1] - row_start_[at(i)];
      if (count == 2 && row[0].value == 1 && row[1].value == 1) {
        pairs_.push_back({row[0].other * width, row[1].other * width});
      } else if (count == 1 && row[0].value == 2) {
        pairs_.push_back({row[0].other * width, row[0].other * width});
      } else {
        pairs_.clear();
        return;
      }
    }
    by_sample_.clear();
    for (const Pair& pair : pairs_) {
      by_sample_.push_back({pair.a / width, 1});
      by_sample_.push_back({pair.b / width, 1});
    }
    for (Index i = 0; i <= n_; ++i) row_start_[at(i)] = 2 * i;
    pairs_.resize(at(round_up(n_, width)), {d_in_ * width, d_in_ * width});
  }

  Index n_, d_in_;
  std::vector<Index> row_start_, input_start_;
  std::vector<Entry> by_sample_, by_input_;
  std::vector<Pair> pairs_;
  PanelMatrix<T> dense_samples_;  // d_in × n
  PanelMatrix<T> dense_inputs_;   // n × d_in
};

}  // namespace zeroloss
