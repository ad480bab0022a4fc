// The one storage of matrices in the kernels: panels, as wide as a tile of the micro-kernel.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <new>
#include <type_traits>

#include "micro_kernel.hpp"

namespace zeroloss {

constexpr Index ceil_div(Index a, Index b) { return (a + b - 1) / b; }
constexpr Index round_up(Index a, Index b) { return ceil_div(a, b) * b; }

/// Zeroed memory at the start of a cache line.
template <class T>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(Index size)
      : data_(static_cast<T*>(::operator new(static_cast<std::size_t>(size) * sizeof(T),
                                             std::align_val_t{alignment}))) {
    std::fill_n(data_.get(), size, T{});
  }

  T* data() { return data_.get(); }
  const T* data() const { return data_.get(); }

 private:
  static constexpr std::size_t alignment = 64;
  struct Free {
    void operator()(T* data) const { ::operator delete(data, std::align_val_t{alignment}); }
  };
  std::unique_ptr<T[], Free> data_;
};

/// A matrix (depth × count) stored as [panel][depth][panel_width]: the entries of a row that lie
/// side by side in a panel fill vectors. What lies beyond count stays zero.
template <class T>
class PanelMatrix {
 public:
  static constexpr Index width = panel_width<T>;

  PanelMatrix() = default;
  PanelMatrix(Index count, Index depth)
      : count_(count), depth_(depth), data_(ceil_div(count, width) * depth * width) {}

  Index count() const { return count_; }
  Index depth() const { return depth_; }
  Index panels() const { return ceil_div(count_, width); }

  T* panel(Index j) { return data_.data() + j * depth_ * width; }
  const T* panel(Index j) const { return data_.data() + j * depth_ * width; }

  /// Entries of panel j in use.
  Index used(Index j) const { return std::min(width, count_ - j * width); }
  /// Vectors of panel j in use.
  int vectors(Index j) const { return static_cast<int>(ceil_div(used(j), lanes<T>)); }

  T& operator()(Index k, Index i) { return panel(i / width)[k * width + i % width]; }
  const T& operator()(Index k, Index i) const { return panel(i / width)[k * width + i % width]; }

  /// Takes rows of a row-major matrix, from (rows × count).
  void assign_rows(const T* from, Index rows) {
    for (Index j = 0; j < panels(); ++j) {
      for (Index k = 0; k < rows; ++k) {
        std::copy_n(from + k * count_ + j * width, used(j), panel(j) + k * width);
      }
    }
  }

  /// Gives the first rows as a row-major matrix, to (rows × count).
  void copy_rows(T* to, Index rows) const {
    for (Index j = 0; j < panels(); ++j) {
      for (Index k = 0; k < rows; ++k) {
        std::copy_n(panel(j) + k * width, used(j), to + k * count_ + j * width);
      }
    }
  }

 private:
  Index count_ = 0;
  Index depth_ = 0;
  Buffer<T> data_;
};

/// to[c · to_step + r] = from[r · from_step + c] for r, c < lanes: a square of vectors, transposed
/// by log2(lanes) rounds that exchange halves, quarters, ... between rows.
template <class T>
[[gnu::always_inline]] inline void transpose_square(const T* from, Index from_step, T* to,
                                                    Index to_step) {
  constexpr int n = lanes<T>;
  using Lane = std::conditional_t<sizeof(T) == 8, std::int64_t, std::int32_t>;
  using Pick = Vector<Lane>;
  Vector<T> row[n];
#pragma GCC unroll 16
  for (int r = 0; r < n; ++r) row[r] = load(from + r * from_step);
#pragma GCC unroll 8
  for (int half = n / 2; half > 0; half /= 2) {
    Pick low, high;
#pragma GCC unroll 16
    for (int lane = 0; lane < n; ++lane) {
      const bool upper = (lane & half) != 0;
      low[lane] = upper ? n + lane - half : lane;
      high[lane] = upper ? n + lane : lane + half;
    }
#pragma GCC unroll 16
    for (int r = 0; r < n; ++r) {
      if ((r & half) != 0) continue;
      const Vector<T> a = row[r], b = row[r + half];
      row[r] = __builtin_shuffle(a, b, low);
      row[r + half] = __builtin_shuffle(a, b, high);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < n; ++r) store(to + r * to_step, row[r]);
}

}  // namespace zeroloss
