// Arrays with the shapes of the two layers, E (d_in × h) and W (h × d_out): the caller's, and a copy in strips. Biases
// are rows of the caller's arrays. Hidden biases are the last of the d_in rows of E, also in the strips. Biases of the
// outputs are a further row of W, and a separate vector c in the copy.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>

#include "../../linalg/strips.hpp"
#include "../../linalg/sums.hpp"

namespace zeroloss {

/// The caller's arrays.
template <class T>
struct Layers {
  T *E = nullptr, *W = nullptr;
};

/// Which units have biases.
struct Biases {
  bool hidden = false, outputs = false;
};

/// A copy of both in strips of hidden units; empty if it is not used.
template <class T>
class LayerStrips {
 public:
  LayerStrips(bool in_use, Index d_in, Index h, Index d_out, Biases biases)
      : d_in_(d_in),
        h_(h),
        d_out_(d_out),
        biases_(biases),
        E_(in_use ? padded() * d_in : 0),
        W_(in_use ? padded() * d_out : 0),
        c_(in_use && biases.outputs ? strip_count<T>(d_out) * lanes<T> : 0) {}

  bool empty() const { return E_.empty(); }
  /// The rows of strip u of hidden units; null if the copy is not used.
  T* E(Index u) { return empty() ? nullptr : E_.data() + u * d_in_ * lanes<T>; }
  T* W(Index u) { return empty() ? nullptr : W_.data() + u * d_out_ * lanes<T>; }
  const T* E(Index u) const { return E_.data() + u * d_in_ * lanes<T>; }
  /// The biases of the outputs, padded; null if there are none or the copy is not used.
  T* c() { return c_.data(); }
  Index size_E() const { return E_.size(); }
  Index size_W() const { return W_.size(); }
  Index size_c() const { return c_.size(); }

  /// Copies the caller's arrays. If `negated`, E is stored as 0 − E, in which −0 becomes 0.
  void load_from(Layers<T> arrays, bool negated) {
    if (empty()) return;
    rows_to_strips(arrays.E, d_in_, h_, E_.data());
    columns_to_strips(arrays.W, h_, d_out_, W_.data());
    if (!c_.empty()) std::copy_n(arrays.W + h_ * d_out_, d_out_, c_.data());
    clear_padding();  // The norm constraint scales these lanes too, by NaN in a run that diverges.
    if (negated) negate();
  }
  /// The arrays E, W and c, with their sizes, in this order.
  std::array<Buffer<T>*, 3> arrays() { return {&E_, &W_, &c_}; }

  /// Copies to the caller's arrays. The copy in strips is not usable afterwards if `negated`.
  void store_to(Layers<T> arrays, bool negated) {
    if (empty()) return;
    if (negated) negate();
    rows_from_strips(E_.data(), d_in_, h_, arrays.E);
    columns_from_strips(W_.data(), h_, d_out_, arrays.W);
    if (!c_.empty()) std::copy_n(c_.data(), d_out_, arrays.W + h_ * d_out_);
  }

  /// Sets the padding lanes of the last strip to zero. They receive gradients if σ(0) ≠ 0, and a value that is not
  /// finite would stay there.
  void clear_padding() {
    if (h_ % lanes<T> == 0 || empty()) return;
    clear_padding(E_);
    clear_padding(W_);
  }

  /// The norms without biases, and the squared norms of the biases of each layer.
  double norm_E() const {
    if (!biases_.hidden) return std::sqrt(sum_of_squares(E_.data(), E_.size()));
    return std::sqrt(squares_of_rows(0, d_in_ - 1));
  }
  double norm_W() const { return std::sqrt(sum_of_squares(W_.data(), W_.size())); }
  double squares_of_hidden_biases() const { return biases_.hidden ? squares_of_rows(d_in_ - 1, 1) : 0; }
  double squares_of_output_biases() const { return sum_of_squares(c_.data(), c_.size()); }
  bool are_finite() const { return all_finite(E_) && all_finite(W_) && all_finite(c_); }

 private:
  /// The sum of the squares of the rows [begin, begin + count) of E.
  double squares_of_rows(Index begin, Index count) const {
    double sum = 0;
    for (Index u = 0; u < strip_count<T>(h_); ++u) sum += sum_of_squares(E(u) + begin * lanes<T>, count * lanes<T>);
    return sum;
  }
  Index padded() const { return strip_count<T>(h_) * lanes<T>; }
  void clear_padding(Buffer<T>& A) const {
    T* last = A.data() + (strip_count<T>(h_) - 1) * A.size() / strip_count<T>(h_);
    for (T* row = last; row < A.data() + A.size(); row += lanes<T>)
      std::fill(row + h_ % lanes<T>, row + lanes<T>, T{0});
  }
  void negate() {
    for (Index i = 0; i < E_.size(); ++i) E_.data()[i] = 0 - E_.data()[i];
  }
  /// Uses that 0 · x is 0 if x is finite, and NaN otherwise.
  static bool all_finite(const Buffer<T>& A) {
    Vector<T> sum{};
    for (Index i = 0; i < A.size(); i += lanes<T>) sum += load(A.data() + i) * T{0};
    T lane[lanes<T>];
    store(lane, sum);
    return std::all_of(lane, lane + lanes<T>, [](T x) { return x == 0; });
  }

  Index d_in_, h_, d_out_;
  Biases biases_;
  Buffer<T> E_, W_, c_;
};

}  // namespace zeroloss
