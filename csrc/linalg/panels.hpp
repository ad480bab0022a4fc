// Panels: the storage of matrices for the predicted gradient and its Cholesky factor. A panel is as wide as a tile of
// the micro-kernel.
#pragma once

#include <algorithm>

#include "buffer.hpp"
#include "micro_kernel.hpp"
#include "transpose.hpp"

namespace zeroloss {

/// A matrix (depth × count) stored as [panel][depth][panel_width]. The entries of a row inside a panel are neighbours
/// in memory and fill vectors. Entries beyond count stay zero.
template <class T>
class PanelMatrix {
 public:
  static constexpr Index width = panel_width<T>;

  PanelMatrix() = default;
  PanelMatrix(Index count, Index depth) : count_(count), depth_(depth), data_(ceil_div(count, width) * depth * width) {}

  Index count() const { return count_; }
  Index depth() const { return depth_; }
  Index panels() const { return ceil_div(count_, width); }

  T* panel(Index j) { return data_.data() + j * depth_ * width; }
  const T* panel(Index j) const { return data_.data() + j * depth_ * width; }

  /// The number of entries in a row of panel j that are in use.
  Index used(Index j) const { return std::min(width, count_ - j * width); }
  /// The number of vectors in a row of panel j that are in use.
  int vectors(Index j) const { return static_cast<int>(ceil_div(used(j), lanes<T>)); }

  T& operator()(Index k, Index i) { return panel(i / width)[k * width + i % width]; }
  const T& operator()(Index k, Index i) const { return panel(i / width)[k * width + i % width]; }

  /// Copies the first rows from a row-major matrix (rows × count).
  void assign_rows(const T* source, Index rows) {
    for (Index j = 0; j < panels(); ++j) {
      for (Index k = 0; k < rows; ++k) {
        std::copy_n(source + k * count_ + j * width, used(j), panel(j) + k * width);
      }
    }
  }

  /// Copies the first rows to a row-major matrix (rows × count).
  void copy_rows(T* output, Index rows) const {
    for (Index j = 0; j < panels(); ++j) {
      for (Index k = 0; k < rows; ++k) {
        std::copy_n(panel(j) + k * width, used(j), output + k * count_ + j * width);
      }
    }
  }

 private:
  Index count_ = 0;
  Index depth_ = 0;
  Buffer<T> data_;
};

/// output[c · output_step + r] = source[r · source_step + c] for r, c < lanes.
template <class T>
[[gnu::always_inline]] inline void transpose_square(const T* source, Index source_step, T* output, Index output_step) {
  Vector<T> row[lanes<T>];
#pragma GCC unroll 16
  for (int r = 0; r < lanes<T>; ++r) row[r] = load(source + r * source_step);
  transpose<T>(row);
#pragma GCC unroll 16
  for (int r = 0; r < lanes<T>; ++r) store(output + r * output_step, row[r]);
}

}  // namespace zeroloss
