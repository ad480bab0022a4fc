// The memory of the kernels: aligned arrays.
#pragma once

#include <algorithm>
#include <memory>
#include <new>

#if __has_include(<sys/mman.h>)
#include <sys/mman.h>
#endif

#include "vector.hpp"

namespace zeroloss {

/// An array of zeros on a cache-line boundary. A large one requests huge pages if the system has them.
template <class T>
class Buffer {
 public:
  explicit Buffer(Index size = 0) : data_(nullptr, Free{alignment(size)}), size_(size) {
    if (size == 0) return;
    const std::size_t bytes = static_cast<std::size_t>(size) * sizeof(T);
    data_.reset(static_cast<T*>(::operator new(bytes, alignment(size))));
#ifdef MADV_HUGEPAGE
    if (alignment(size) == huge_page) madvise(data_.get(), bytes, MADV_HUGEPAGE);  // its result does not matter
#endif
    std::fill_n(data_.get(), size, T{});
  }

  bool empty() const { return size_ == 0; }
  Index size() const { return size_; }
  T* data() { return data_.get(); }
  const T* data() const { return data_.get(); }

 private:
  static constexpr std::align_val_t cache_line{64}, huge_page{std::size_t{2} << 20};
  static constexpr Index large = (Index{4} << 20) / static_cast<Index>(sizeof(T));

  static constexpr std::align_val_t alignment(Index size) { return size < large ? cache_line : huge_page; }
  struct Free {
    std::align_val_t alignment;
    void operator()(T* data) const { ::operator delete(data, alignment); }
  };
  std::unique_ptr<T[], Free> data_;
  Index size_;
};

}  // namespace zeroloss
