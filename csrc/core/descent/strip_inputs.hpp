// The inputs X (n × d_in) of a descent, packed for the products Z = X E and gE += Xᵀ gZ with strips of hidden units.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <tuple>
#include <vector>

#include "../network/inputs.hpp"
#include "descent_tiles.hpp"

namespace zeroloss {

/// A row e_a + e_b of X, as the offsets of rows a and b in a strip of E.
struct Pair {
  std::uint32_t a, b;
};

/// A packed copy of X: pairs if every row is a sum of two unit vectors, otherwise entries or dense rows. Pairs are
/// sorted by the registers of a row of Eᵀ that hold a and b, because most strips of samples then gather from one
/// register each, and then by a + b mod d_in, because neighbours with equal sums share no number. (With a shared
/// number, the additions into gE would wait for each other.) At levels with groups (pair_group > 1), samples in groups
/// come first.
///
/// A last input that is 1 in every sparse row is a constant: it adds the last row b of E to each row of Z. It is not
/// packed. On pairs, Σ_i gZ_i is half of the sum of the other rows of gE, so `scatter` leaves it to the caller.
template <class T>
class StripInputs {
 public:
  explicit StripInputs(const SparseInputs<T>& X)
      : n(X.n()), d_in(X.d_in), order_(X.starts.size() - 1), row_start_(X.starts) {
    std::iota(order_.begin(), order_.end(), Index{0});
    for (std::size_t e = 0; e < X.columns.size(); ++e) entries_.push_back({X.columns[e] * L, X.values[e]});
    if (find_pairs()) return;
    remove_constant();
    if (has_constant_) find_pairs();
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
        pairs_(all.pairs_.empty() ? 0 : static_cast<std::size_t>(strip_count<T>(count) * L)),
        has_constant_(all.has_constant_) {}

  /// Copies the rows at increasing positions of `all`. None of them are in groups.
  void copy_rows(const StripInputs& all, const std::vector<Index>& positions) {
    for (Index i = 0; i < n; ++i) {
      order_[i] = all.order_[positions[i]];
      if (!X_.empty()) std::copy_n(all.X_.data() + positions[i] * d_in, d_in, X_.data() + i * d_in);
    }
    for (std::size_t i = 0; i < pairs_.size(); ++i)
      pairs_[i] = all.pairs_[static_cast<std::size_t>(positions[std::min(i, positions.size() - 1)])];
  }

  bool are_pairs() const { return !pairs_.empty(); }
  /// The pairs, in strips of samples. The last strip is padded with copies; no result depends on them.
  const Pair* pairs() const { return pairs_.data(); }
  /// Whether the last input is a constant that is not packed.
  bool has_constant() const { return has_constant_; }
  /// The rows of E that packed inputs use.
  Index packed_rows() const { return d_in - has_constant_; }
  /// How many of the first samples are in groups of pair_group that share their a.
  Index grouped_count() const { return grouped_count_; }
  /// The caller's row at position i of the sorted samples.
  Index caller_row(Index i) const { return order_[i]; }

  /// Z = X E for one strip of hidden units.
  void multiply(const T* E, T* Z) const {
    if (!X_.empty()) {
      std::fill(Z, Z + n * L, T{});
      for (Index i = 0; i < n; i += dense_rows)
        with_number<dense_rows>(std::min<Index>(dense_rows, n - i),
                                [&](auto R) { add_product<R>(X_.data() + i * d_in, d_in, 1, E, d_in, Z + i * L); });
      return;
    }
    const Vector<T> b = has_constant_ ? load(E + (d_in - 1) * L) : Vector<T>{};
    if (are_pairs()) {
      for (Index i = 0; i < n; ++i, Z += L) {
        const Pair pair = pairs_[static_cast<std::size_t>(i)];
        const Vector<T> z = load(E + pair.a) + load(E + pair.b);
        store<T>(Z, has_constant_ ? z + b : z);
      }
      return;
    }
    for (Index i = 0; i < n; ++i, Z += L) {
      Vector<T> z = b;
      for (Index e = row_start_[order_[i]]; e < row_start_[order_[i] + 1]; ++e)
        z += broadcast(entries_[e].value) * load(E + entries_[e].offset);
      store(Z, z);
    }
  }

  /// gE += Xᵀ gZ for one strip of hidden units and the samples [first, last).
  void scatter(const T* gZ, Index first, Index last, T* gE) const {
    if (!X_.empty()) {
      for (Index j = 0; j < d_in; j += dense_rows)
        with_number<dense_rows>(std::min<Index>(dense_rows, d_in - j), [&](auto R) {
          add_product<R>(X_.data() + first * d_in + j, 1, d_in, gZ, last - first, gE + j * L);
        });
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

  /// Returns whether all rows are pairs, which are then packed.
  bool find_pairs() {
    std::vector<Pair> pairs;
    for (Index i = 0; i < n; ++i) {
      const Entry* x = entries_.data() + row_start_[i];
      const Index count = row_start_[i + 1] - row_start_[i];
      const auto offset = [&](Index e) { return static_cast<std::uint32_t>(x[e].offset); };
      if (count == 2 && x[0].value == 1 && x[1].value == 1) {
        pairs.push_back({std::min(offset(0), offset(1)), std::max(offset(0), offset(1))});
      } else if (count == 1 && x[0].value == 2) {
        pairs.push_back({offset(0), offset(0)});
      } else {
        return false;
      }
    }
    const auto sort_key = [&](Index i) {
      const Index a = pairs[i].a / L, b = pairs[i].b / L;
      return std::tuple(a / L, b / L, (a + b) % packed_rows(), a, i);
    };
    std::sort(order_.begin(), order_.end(), [&](Index i, Index j) { return sort_key(i) < sort_key(j); });
    if constexpr (pair_group<T> > 1) group_by_number(pairs);
    for (Index i = 0; i < strip_count<T>(n) * L; ++i) pairs_.push_back(pairs[order_[std::min(i, n - 1)]]);
    return true;
  }

  /// Moves groups of samples that share a number to the front, and the shared number to a.
  void group_by_number(std::vector<Pair>& pairs) {
    std::vector<Index> front, rest = order_;
    for (const auto number : {&Pair::a, &Pair::b}) {
      std::vector<std::vector<Index>> samples_with_number(static_cast<std::size_t>(d_in));
      for (const Index i : rest) samples_with_number[pairs[i].*number / L].push_back(i);
      rest.clear();
      for (const auto& samples : samples_with_number) {
        const auto groups_end = samples.begin() + static_cast<Index>(samples.size()) / pair_group<T> * pair_group<T>;
        front.insert(front.end(), samples.begin(), groups_end);
        rest.insert(rest.end(), groups_end, samples.end());
        if (number == &Pair::b)
          std::for_each(samples.begin(), groups_end, [&](Index i) { std::swap(pairs[i].a, pairs[i].b); });
      }
    }
    grouped_count_ = static_cast<Index>(front.size());
    order_ = std::move(front);
    order_.insert(order_.end(), rest.begin(), rest.end());
  }

  static constexpr int L = lanes<T>;
  static constexpr int dense_rows = 8;  // rows in a tile of a dense product
  std::vector<Index> order_;
  std::vector<T> X_;  // n × d_in; empty unless the rows are dense
  std::vector<Index> row_start_;
  std::vector<Entry> entries_;
  std::vector<Pair> pairs_;
  Index grouped_count_ = 0;
  bool has_constant_ = false;
};

}  // namespace zeroloss
