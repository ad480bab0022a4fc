// Strips: the storage of gradient descent and AdamW. A strip has `lanes` neighbouring hidden units or samples along the
// lanes and the other index along its rows, so each row is one register:
//   E  (d_in × h)   [h / lanes][d_in][lanes]      hidden units along the lanes
//   W  (h × d_out)  [h / lanes][d_out][lanes]     hidden units along the lanes
//   Y, F, G (n × d_out)  [n / lanes][d_out][lanes]     samples along the lanes
// Every product reads one operand as rows of a strip and broadcasts single entries of the other. Conversions only move
// and pad entries; they change no bit.
#pragma once

#include <algorithm>

#include "buffer.hpp"

namespace zeroloss {

template <class T>
constexpr Index strip_count(Index length) {
  return (length + lanes<T> - 1) / lanes<T>;
}

/// The offset of entry (row, position) in an array of strips with `rows` rows.
template <class T>
constexpr Index strip_offset(Index rows, Index row, Index position) {
  const auto p = static_cast<std::size_t>(position);  // unsigned, so the division is a shift
  return static_cast<Index>(p / lanes<T>) * rows * lanes<T> + row * lanes<T> + static_cast<Index>(p % lanes<T>);
}

/// Copies A (rows × length, row-major) to strips: neighbours in a row become neighbouring lanes.
template <class T>
void rows_to_strips(const T* A, Index rows, Index length, T* strips) {
  for (Index r = 0; r < rows; ++r)
    for (Index j = 0; j < length; j += lanes<T>)
      std::copy_n(A + r * length + j, std::min<Index>(lanes<T>, length - j), strips + strip_offset<T>(rows, r, j));
}

template <class T>
void rows_from_strips(const T* strips, Index rows, Index length, T* A) {
  for (Index r = 0; r < rows; ++r)
    for (Index j = 0; j < length; j += lanes<T>)
      std::copy_n(strips + strip_offset<T>(rows, r, j), std::min<Index>(lanes<T>, length - j), A + r * length + j);
}

/// Copies A (length × rows, row-major) to strips: neighbours in a column become neighbouring lanes.
template <class T>
void columns_to_strips(const T* A, Index length, Index rows, T* strips) {
  for (Index i = 0; i < length; ++i)
    for (Index r = 0; r < rows; ++r) strips[strip_offset<T>(rows, r, i)] = A[i * rows + r];
}

template <class T>
void columns_from_strips(const T* strips, Index length, Index rows, T* A) {
  for (Index i = 0; i < length; ++i)
    for (Index r = 0; r < rows; ++r) A[i * rows + r] = strips[strip_offset<T>(rows, r, i)];
}

}  // namespace zeroloss
