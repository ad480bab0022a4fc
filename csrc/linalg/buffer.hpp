// Memory of the kernels.
#pragma once

#include <algorithm>
#include <memory>
#include <new>

#include "vector.hpp"

namespace zeroloss {

/// An array of zeros on a cache-line boundary.
template <class T>
class Buffer {
 public:
  explicit Buffer(Index size = 0)
      : data_(size > 0 ? static_cast<T*>(::operator new(static_cast<std::size_t>(size) * sizeof(T), alignment))
                       : nullptr),
        size_(size) {
    std::fill_n(data_.get(), size, T{});
  }

  bool empty() const { return size_ == 0; }
  Index size() const { return size_; }
  T* data() { return data_.get(); }
  const T* data() const { return data_.get(); }

 private:
  static constexpr std::align_val_t alignment{64};
  struct Free {
    void operator()(T* data) const { ::operator delete(data, alignment); }
  };
  std::unique_ptr<T[], Free> data_;
  Index size_;
};

}  // namespace zeroloss
