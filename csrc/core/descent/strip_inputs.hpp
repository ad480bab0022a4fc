// The inputs X (n × d_in) of a descent, packed for the products Z = X E and gE += Xᵀ gZ with strips of hidden units.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <tuple>
#include <vector>

#include "../network/inputs.hpp"
#include "descent_tiles.hpp"

namespace zeroloss {

/// row += v, or row −= v if `negated`.
template <bool negated, class T>
[[gnu::always_inline]] inline void add_to(T* row, Vector<T> v) {
  store(row, negated ? load(row) - v : load(row) + v);
}

/// k-hot rows of X, which are sums of k unit vectors: the offsets of their rows in a strip of E, k for each sample.
/// `fixed` is k if it is known at compile time, else 0.
template <int fixed>
struct HotRows {
  const std::uint32_t* offsets;
  Index count;

  [[gnu::always_inline]] Index k() const { return fixed > 0 ? fixed : count; }

  /// Returns the sum of the rows of a strip of E that sample i has.
  template <class T>
  [[gnu::always_inline]] Vector<T> add_rows(const T* E, Index i) const {
    const std::uint32_t* const x = offsets + i * k();
    Vector<T> z = load(E + x[0]);
    if constexpr (fixed == 2) return z + load(E + x[1]);
    for (Index e = 1; e < count; ++e) z += load(E + x[e]);
    return z;
  }
  /// Adds v to the rows of a strip of gE that sample i has, or subtracts it from them if `negated`.
  template <bool negated, class T>
  [[gnu::always_inline]] void add_to_rows(T* gE, Index i, Vector<T> v) const {
    const std::uint32_t* const x = offsets + i * k();
    if constexpr (fixed == 2) {
      add_to<negated>(gE + x[1], v);
      add_to<negated>(gE + x[0], v);
    } else {
      for (Index e = 0; e < count; ++e) add_to<negated>(gE + x[e], v);
    }
  }
  [[gnu::always_inline]] HotRows from(Index i) const { return {offsets + i * k(), count}; }
};

/// The rows of Z = X E of pairs, for one strip of hidden units.
template <class T>
struct PairSums {
  const T* E;
  HotRows<2> pairs;
  Vector<T> b;  // the biases, or −0, which changes no number

  [[gnu::always_inline]] Vector<T> operator()(std::size_t i) const {
    return pairs.add_rows(E, static_cast<Index>(i)) + b;
  }
};

/// The place of a row of E among the columns of Eᵀ, which begin a new register at `split`.
template <class T, class Integer>
constexpr Integer transposed_row(Integer row, Integer split) {
  return row < split ? row : row - split + static_cast<Integer>(strip_count<T>(split)) * lanes<T>;
}

/// A packed copy of X: k-hot if every row is a sum of k unit vectors (k = 2: pairs), otherwise entries or dense rows.
/// Pairs a, b are sorted by the registers of a row of Eᵀ that hold a and b, because most strips of samples then gather
/// from one register each. All k-hot rows are sorted by the sum of their numbers mod d_in, because neighbouring pairs
/// with equal sums share no number. (With a shared number, the additions into gE would wait for each other.) At levels
/// with groups (pair_group > 1), samples in groups come first.
///
/// A last input that is 1 in every sparse row is a constant: it adds the last row b of E to each row of Z. It is not
/// packed. On k-hot rows, Σ_i gZ_i is a k-th of the sum of the other rows of gE, so `scatter` leaves it to the caller.
template <class T>
class StripInputs {
 public:
  explicit StripInputs(const SparseInputs<T>& X)
      : n(X.n()), d_in(X.d_in), order_(X.starts.size() - 1), row_start_(X.starts) {
    std::iota(order_.begin(), order_.end(), Index{0});
    for (std::size_t e = 0; e < X.columns.size(); ++e) entries_.push_back({X.columns[e] * L, X.values[e]});
    if (pack_hot_rows(2)) return;
    remove_constant();
    pack_hot_rows(find_hot_count());
  }
  explicit StripInputs(const DenseInputs<T>& X)
      : n(X.n()), d_in(X.X.cols()), order_(static_cast<std::size_t>(n)), X_(X.X.data(), X.X.data() + X.X.size()) {
    std::iota(order_.begin(), order_.end(), Index{0});
  }

  /// Room for `count` of the rows of `all`, which `copy_rows` fills.
  StripInputs(const StripInputs& all, Index count)
      : n(count),
        d_in(all.d_in),
        order_(static_cast<std::size_t>(count)),
        X_(all.X_.empty() ? 0 : static_cast<std::size_t>(count * all.d_in)),
        row_start_(all.row_start_),
        entries_(all.entries_),
        hot_count_(all.hot_count_),
        offsets_(static_cast<std::size_t>(strip_count<T>(count) * L * hot_count_)),
        has_constant_(all.has_constant_) {}

  /// Copies the rows at increasing positions of `all`. None of them are in groups.
  void copy_rows(const StripInputs& all, const Index* positions) {
    for (Index i = 0; i < n; ++i) {
      order_[i] = all.order_[positions[i]];
      if (!X_.empty()) std::copy_n(all.X_.data() + positions[i] * d_in, d_in, X_.data() + i * d_in);
    }
    const auto copy_offsets = [&](Index k) __attribute__((always_inline)) {
      for (Index i = 0; i < strip_count<T>(n) * L; ++i)
        std::copy_n(all.offsets_.data() + positions[std::min(i, n - 1)] * k, k, offsets_.data() + i * k);
    };
    if (hot_count_ == 2) return copy_offsets(2);
    copy_offsets(hot_count_);
  }

  /// k if the rows are k-hot, else 0.
  Index hot_count() const { return hot_count_; }
  /// The k-hot rows, in strips of samples. The last strip is padded with copies; no result depends on them.
  template <int fixed>
  HotRows<fixed> hot_rows() const {
    return {offsets_.data(), hot_count_};
  }
  /// Whether the last input is a constant that is not packed.
  bool has_constant() const { return has_constant_; }
  /// The rows of E that packed inputs use.
  Index packed_rows() const { return d_in - has_constant_; }
  /// The first of the rows that b uses if a and b of all pairs use different rows, as in concatenated one-hots; else
  /// packed_rows(). Rows of Eᵀ begin a new register there.
  Index split() const { return split_; }
  /// How many of the first samples are in groups of pair_group that share their a.
  Index grouped_count() const { return grouped_count_; }
  /// The caller's row at position i of the sorted samples.
  Index caller_row(Index i) const { return order_[i]; }

  /// The rows of Z = X E for one strip of hidden units, if the inputs are pairs.
  PairSums<T> pair_sums(const T* E) const {
    return {E, hot_rows<2>(), has_constant_ ? load(E + (d_in - 1) * L) : broadcast(-T(0))};
  }

  /// Writes finish(Z) with Z = X E for one strip of hidden units.
  template <class Finish>
  void multiply(const T* E, T* Z, const Finish& finish) const {
    if (!X_.empty()) {
      for_dense_tiles(n, [&](auto R, Index i) {
        multiply_tile<R>(X_.data() + i * d_in, d_in, 1, E, d_in, static_cast<const T*>(nullptr), Z + i * L, finish);
      });
      return;
    }
    const Vector<T> b = has_constant_ ? load(E + (d_in - 1) * L) : Vector<T>{};
    if (hot_count_ > 0) {
      for (Index i = 0; i < n; ++i, Z += L) {
        const Vector<T> z = hot_rows<0>().add_rows(E, i);
        store<T>(Z, finish(has_constant_ ? z + b : z));
      }
      return;
    }
    for (Index i = 0; i < n; ++i, Z += L) {
      Vector<T> z = b;
      for (Index e = row_start_[order_[i]]; e < row_start_[order_[i] + 1]; ++e)
        z += broadcast(entries_[e].value) * load(E + entries_[e].offset);
      store(Z, finish(z));
    }
  }

  /// gE += Xᵀ gZ for one strip of hidden units and the samples [first, last).
  void scatter(const T* gZ, Index first, Index last, T* gE) const {
    if (!X_.empty()) {
      for_dense_tiles(d_in, [&](auto R, Index j) {
        multiply_tile<R>(X_.data() + first * d_in + j, 1, d_in, gZ, last - first, gE + j * L, gE + j * L,
                         [](Vector<T> v) { return v; });
      });
      return;
    }
    if (hot_count_ > 0) {
      for (Index i = first; i < last; ++i, gZ += L) hot_rows<0>().template add_to_rows<false>(gE, i, load(gZ));
      return;
    }
    Vector<T> sum{};
    for (Index i = first; i < last; ++i, gZ += L) {
      sum += load(gZ);
      for (Index e = row_start_[order_[i]]; e < row_start_[order_[i] + 1]; ++e) {
        T* output = gE + entries_[e].offset;
        store(output, load(output) + broadcast(entries_[e].value) * load(gZ));
      }
    }
    if (has_constant_) store(gE + (d_in - 1) * L, load(gE + (d_in - 1) * L) + sum);
  }

  const Index n, d_in;

 private:
  struct Entry {
    Index offset;
    T value;
  };

  /// Calls f(Number<R>, first) for tiles of nearly equal numbers R of `count` rows.
  template <class F>
  static void for_dense_tiles(Index count, const F& f) {
    const Index tiles = (count + dense_rows - 1) / dense_rows;
    for (Index t = 0, first = 0; t < tiles; ++t) {
      const Index width = count / tiles + (t < count % tiles);
      with_number<dense_rows>(width, [&](auto R) { f(R, first); });
      first += width;
    }
  }

  /// Removes the entries of the last input if each is 1 and every row has it.
  void remove_constant() {
    const Index offset = (d_in - 1) * L;
    std::vector<Entry> others;
    std::vector<Index> starts{0};
    for (Index i = 0; i < n; ++i) {
      Index constants = 0;
      for (Index e = row_start_[i]; e < row_start_[i + 1]; ++e) {
        if (entries_[e].offset != offset)
          others.push_back(entries_[e]);
        else if (entries_[e].value == 1)
          ++constants;
        else
          return;
      }
      if (constants != 1) return;
      starts.push_back(static_cast<Index>(others.size()));
    }
    entries_ = std::move(others);
    row_start_ = std::move(starts);
    has_constant_ = true;
  }

  /// The sum of row i if each entry is a whole number of at least 1, else 0.
  Index row_sum(Index i) const {
    double sum = 0;
    for (Index e = row_start_[i]; e < row_start_[i + 1]; ++e) {
      const double value = entries_[e].value;
      if (!(value >= 1 && value <= most_hot && value == std::floor(value))) return 0;
      sum += value;
    }
    return static_cast<Index>(std::min<double>(sum, most_hot + 1));
  }

  /// Returns k if all rows are sums of k unit vectors, and few of these are equal; else 0.
  Index find_hot_count() const {
    const Index k = n > 0 ? row_sum(0) : 0;
    return k <= most_hot && n * k <= 2 * static_cast<Index>(entries_.size()) ? k : 0;
  }

  /// Packs the rows and returns true if all of them are k-hot, k > 0.
  bool pack_hot_rows(Index k) {
    std::vector<std::uint32_t> offsets;
    for (Index i = 0; i < n; ++i) {
      if (k == 0 || row_sum(i) != k) return false;
      for (Index e = row_start_[i]; e < row_start_[i + 1]; ++e)
        offsets.insert(offsets.end(), static_cast<std::size_t>(entries_[e].value),
                       static_cast<std::uint32_t>(entries_[e].offset));
      std::sort(offsets.end() - k, offsets.end());
    }
    if (n == 0) return false;
    hot_count_ = k;
    split_ = packed_rows();
    if (k == 2) find_split(offsets);
    const auto sort_key = [&](Index i) {
      const std::uint32_t* const x = offsets.data() + i * k;
      const Index a = x[0] / L, b = x[k - 1] / L, sum = std::accumulate(x, x + k, Index{0}) / L % packed_rows();
      if (k != 2) return std::tuple(sum, a, b, i, i);
      return std::tuple(transposed_row<T>(a, split_) / L, transposed_row<T>(b, split_) / L, sum, a, i);
    };
    std::sort(order_.begin(), order_.end(), [&](Index i, Index j) { return sort_key(i) < sort_key(j); });
    if constexpr (pair_group<T> > 1)
      if (k == 2) group_by_number(offsets);
    for (Index i = 0; i < strip_count<T>(n) * L; ++i)
      offsets_.insert(offsets_.end(), offsets.begin() + order_[std::min(i, n - 1)] * k,
                      offsets.begin() + order_[std::min(i, n - 1)] * k + k);
    return true;
  }

  void find_split(const std::vector<std::uint32_t>& offsets) {
    Index largest_a = 0, smallest_b = d_in;
    for (std::size_t i = 0; i < offsets.size(); i += 2) {
      largest_a = std::max<Index>(largest_a, offsets[i] / L);
      smallest_b = std::min<Index>(smallest_b, offsets[i + 1] / L);
    }
    if (largest_a < smallest_b) split_ = smallest_b;
  }

  /// Moves groups of pairs that share a number to the front, and the shared number to the first place.
  void group_by_number(std::vector<std::uint32_t>& offsets) {
    std::vector<Index> front, rest = order_;
    for (const Index place : {0, 1}) {
      std::vector<std::vector<Index>> samples_with_number(static_cast<std::size_t>(d_in));
      for (const Index i : rest) samples_with_number[offsets[2 * i + place] / L].push_back(i);
      rest.clear();
      for (const auto& samples : samples_with_number) {
        const auto groups_end = samples.begin() + static_cast<Index>(samples.size()) / pair_group<T> * pair_group<T>;
        front.insert(front.end(), samples.begin(), groups_end);
        rest.insert(rest.end(), groups_end, samples.end());
        if (place == 1)
          std::for_each(samples.begin(), groups_end, [&](Index i) { std::swap(offsets[2 * i], offsets[2 * i + 1]); });
      }
    }
    grouped_count_ = static_cast<Index>(front.size());
    order_ = std::move(front);
    order_.insert(order_.end(), rest.begin(), rest.end());
  }

  static constexpr Index most_hot = 64;
  static constexpr int L = lanes<T>;
  std::vector<Index> order_;
  std::vector<T> X_;  // n × d_in; empty unless the rows are dense
  std::vector<Index> row_start_;
  std::vector<Entry> entries_;
  Index hot_count_ = 0, split_ = 0;
  std::vector<std::uint32_t> offsets_;  // [sample][k] of k-hot rows
  Index grouped_count_ = 0;
  bool has_constant_ = false;
};

}  // namespace zeroloss
