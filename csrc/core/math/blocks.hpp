// Products of matrices in blocks of rows or columns. Each block is a task for a team of threads. The sizes of the
// blocks depend only on the matrix, and one task computes a block, so the bits do not depend on the number of threads.
// Test: tests/test_threads_and_memory.py.
#pragma once

#include <algorithm>
#include <type_traits>

#include "../../linalg/flush_denormals.hpp"
#include "../../linalg/index.hpp"
#include "../../linalg/team.hpp"
#include "../types.hpp"

namespace zeroloss {

/// The default number of rows or columns in a block. Smaller blocks slow the products more than threads gain.
constexpr Index block_size = 128;

/// Calls f(begin, length), or f(begin, length, member) with the member of the team, for the blocks of [0, count). All
/// blocks have `size` elements except the last. f must not throw. Denormals are flushed to zero during the calls,
/// because the helping threads flush them too.
template <class F>
void for_blocks(const Team& team, Index count, Index size, F&& f) {
  const FlushDenormals flush;
  team.run(ceil_div(count, size), [&](Index block, int member) {
    const Index begin = block * size, length = std::min(size, count - begin);
    if constexpr (std::is_invocable_v<F&, Index, Index, int>)
      f(begin, length, member);
    else
      f(begin, length);
  });
}

/// The same with blocks of `block_size`.
template <class F>
void for_blocks(const Team& team, Index count, F&& f) {
  for_blocks(team, count, block_size, f);
}

/// C = A B, in blocks of rows.
template <class A, class B>
void multiply_by_rows(const Team& team, const A& a, const B& b, Matrix<double>& C) {
  C.resize(a.rows(), b.cols());
  for_blocks(team, a.rows(), [&](Index begin, Index length) {
    C.middleRows(begin, length).noalias() = a.middleRows(begin, length) * b;
  });
}

/// Computes the lower triangle of C = A Aᵀ, A: rows × depth. The entries above the diagonal are undefined.
template <class C>
void multiply_by_own_transpose(const Team& team, const Matrix<double>& A, C&& c) {
  const Index blocks = ceil_div(A.rows(), block_size);
  for_blocks(team, blocks, 1, [&](Index task, Index) {
    const Index begin = (blocks - 1 - task) * block_size;  // the longest rows first
    const Index length = std::min(block_size, A.rows() - begin), end = begin + length;
    c.block(begin, 0, length, end).noalias() = A.middleRows(begin, length) * A.topRows(end).transpose();
  });
}

}  // namespace zeroloss
