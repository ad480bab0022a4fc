// The Cholesky factor of K = P Pᵀ + λI. K is computed, factored and applied to right-hand sides in one sweep.
#pragma once

#include <algorithm>
#include <atomic>
#include <utility>
#include <vector>

#include "diagonal_tile.hpp"
#include "symmetric_product.hpp"
#include "team.hpp"

namespace zeroloss {

/// The outcome of a factorisation.
struct FactorStatus {
  Index failed_pivot = -1;  ///< index of the first pivot that is too small, or -1
  double pivot = 0;         ///< the value of that pivot

  bool ok() const { return failed_pivot < 0; }
};

/// The right-hand sides of the sweep: the matrix Y itself, or the product P Y.
enum class RightSide { given, product };

/// The lower triangle of K (n × n), which its factor L overwrites. Panel i holds the rows of L from i·width on as
/// [column][width], with the columns up to the diagonal. It can be either operand of a panel_product. Blocks of panels
/// are the tasks of the sweep. Block (I, J) needs the blocks to its left in rows I and J, and the factor of (J, J). The
/// order of every sum depends only on n.
template <class T>
class Cholesky {
 public:
  static constexpr Index width = panel_width<T>;

  /// Allocates memory for n × n matrices and right-hand sides with `right_count` columns.
  Cholesky(Index n, Index right_count)
      : n_(n),
        padded_(round_up(n, tile_rows<T>)),
        panels_(ceil_div(n, width)),
        right_panels_(ceil_div(right_count, width)),
        block_(block_panels(n)),
        blocks_(ceil_div(panels_, block_)),
        right_blocks_(ceil_div(right_panels_, block_)),
        lower_(width * width * panels_ * (panels_ + 1) / 2),
        diagonal_(panels_ * width),
        eliminations_(static_cast<std::size_t>(panels_ * (width / tile_rows<T>))),
        progress_(static_cast<std::size_t>(blocks_ + right_blocks_)) {
    for (Index J = 0; J < blocks_; ++J) {
      for (Index I = J; I < blocks_ + right_blocks_; ++I) tasks_.emplace_back(I, J);
    }
  }

  Index size() const { return n_; }
  /// The rows that a matrix of right-hand sides needs: whole panels.
  static Index right_rows(Index n) { return round_up(n, width); }

  /// Factors K = P Pᵀ + ridge·I = L Lᵀ for P (n × depth, stored with rows side by side in a panel), and solves for the
  /// right-hand sides: R = L⁻¹ Y for a given Y (n × right_count), or R = L⁻¹ P Y for Y (depth × right_count). R has
  /// room for whole panels of rows (see `right_rows`). P_of(member) is the copy of P that this member of the team
  /// reads.
  template <class Operand>
  FactorStatus factor(const Team& team, const Operand& P_of, T ridge, const PanelMatrix<T>& Y, RightSide kind,
                      PanelMatrix<T>& R) {
    return sweep(team, R, [&](Index I, Index J, int member) { form(P_of(member), ridge, Y, kind, R, I, J); });
  }

  /// Factors a symmetric K = L Lᵀ without right-hand sides. lower(j) points to K(j, j), …, K(n − 1, j).
  template <class Lower>
  FactorStatus factor_matrix(const Team& team, const Lower& lower) {
    PanelMatrix<T> none;
    return sweep(team, none, [&](Index I, Index J, int) { copy_block(lower, I, J); });
  }

  /// R ← L⁻ᵀ R, from the last block of rows to the first.
  void solve_transposed(const Team& team, PanelMatrix<T>& R) const {
    std::atomic<Index> unsolved{blocks_};
    team.run(blocks_, [&](Index task) {
      const Index J = blocks_ - 1 - task;
      solve_transposed_block(
          J, R, [&](Index I) { detail::wait_until([&] { return unsolved.load(std::memory_order_acquire) <= I; }); });
      unsolved.store(J, std::memory_order_release);
    });
  }

  /// R ← K⁻¹ R for other right-hand sides, with room for whole panels of rows.
  void solve(const Team& team, PanelMatrix<T>& R) const {
    team.run(R.panels(), [&](Index g) { with_vectors(R.vectors(g), [&]<int N>() { solve_panel<N>(R.panel(g)); }); });
    solve_transposed(team, R);
  }

  Index panels() const { return panels_; }
  /// Panel i of L: [column][width], zero above the diagonal.
  const T* panel(Index i) const { return lower(i); }
  /// The number of columns of panel j that are computed. Columns beyond n are columns of the identity.
  Index columns(Index j) const { return std::min(width, padded_ - j * width); }
  /// The number of those columns that belong to K.
  Index used(Index j) const { return std::min(width, n_ - j * width); }

 private:
  /// The number of panels in a block, which has about a fifth of the rows. Small blocks distribute a small matrix over
  /// the threads; large blocks reduce the memory traffic of a large one. 48 rows are whole panels at every level and
  /// precision.
  static constexpr Index block_panels(Index n) {
    const Index rows = std::clamp<Index>((n / 5 + 24) / 48 * 48, 48, 192);
    return rows / width;
  }

  /// A panel of rows in the sweep: rows of K, or of Rᵀ. Its entries lie along the vectors.
  struct Row {
    T* data;      ///< [column][width]
    Index used;   ///< the rows that are needed
    Index panel;  ///< the number of the panel; from panels_ on, a panel of right-hand sides
  };

  T* lower(Index i) { return lower_.data() + width * width * (i * (i + 1) / 2); }
  const T* lower(Index i) const { return lower_.data() + width * width * (i * (i + 1) / 2); }
  Elimination<T>* eliminations(Index j) { return eliminations_.data() + j * (width / tile_rows<T>); }
  const Elimination<T>* eliminations(Index j) const { return eliminations_.data() + j * (width / tile_rows<T>); }

  /// Returns panel i. The panels of K come first, then the panels of right-hand sides.
  Row row(PanelMatrix<T>& R, Index i) {
    if (i < panels_) return {lower(i), used(i), i};
    const Index g = i - panels_;
    return {R.panel(g), R.used(g), i};
  }

  Index begin(Index I) const { return I < blocks_ ? I * block_ : panels_ + (I - blocks_) * block_; }
  Index end(Index I) const { return std::min(begin(I) + block_, I < blocks_ ? panels_ : panels_ + right_panels_); }

  /// Computes all blocks. form(I, J, member) sets a block of K or of the right-hand sides.
  template <class Form>
  FactorStatus sweep(const Team& team, PanelMatrix<T>& R, const Form& form) {
    status_ = {};
    failed_.store(false, std::memory_order_relaxed);
    for (auto& columns : progress_) columns.store(0, std::memory_order_relaxed);
    team.run(static_cast<Index>(tasks_.size()), [&](Index task, int member) {
      const auto [I, J] = tasks_[static_cast<std::size_t>(task)];
      form(I, J, member);
      process_block(R, I, J);
    });
    return status_;
  }

  void process_block(PanelMatrix<T>& R, Index I, Index J) {
    auto& mine = progress_[static_cast<std::size_t>(I)];
    auto& other = progress_[static_cast<std::size_t>(J)];
    const auto wait_for = [](const std::atomic<Index>& finished, Index needed) {
      detail::wait_until([&] { return finished.load(std::memory_order_acquire) >= needed; });
    };
    wait_for(mine, J);
    wait_for(other, J);
    if (!failed()) update(R, I, J);
    if (I == J) {
      if (!failed()) factor_diagonal(R, J);
    } else {
      wait_for(other, J + 1);
      if (!failed()) {
        for (Index j = begin(J); j < end(J); ++j) {
          for (Index i = begin(I); i < end(I); ++i) finish_square(row(R, i), J, j);
        }
      }
    }
    mine.store(J + 1, std::memory_order_release);
  }

  bool failed() const { return failed_.load(std::memory_order_relaxed); }

  /// K_IJ = P_I P_Jᵀ (+ λI), or copies a block of the given Y.
  void form(const PanelMatrix<T>& P, T ridge, const PanelMatrix<T>& Y, RightSide kind, PanelMatrix<T>& R, Index I,
            Index J) {
    if (I >= blocks_ && kind == RightSide::given) {
      for (Index i = begin(I); i < end(I); ++i) {
        const Row right = row(R, i);
        const T* const given = Y.panel(i - panels_);
        for (Index at = begin(J) * width * width; at < end(J) * width * width; at += width) {
          for (Index v = at; v < at + right.used; v += lanes<T>) store(right.data + v, load(given + v));
        }
      }
      return;
    }
    multiply_block<Update::set, Update::add>(R, I, J, P.depth(),
                                             [&](Index i) { return i < panels_ ? P.panel(i) : Y.panel(i - panels_); });
    if (I == J) {
      for (Index j = begin(J); j < end(J); ++j) complete_diagonal(ridge, j);
    }
  }

  /// Copies block (I, J) of a given K.
  template <class Lower>
  void copy_block(const Lower& lower_of, Index I, Index J) {
    for (Index j = begin(J); j < end(J); ++j) {
      for (Index i = std::max(begin(I), j); i < end(I); ++i) {
        for (Index c = 0; c < used(j); ++c) {
          const Index column = j * width + c, first = std::max(i * width, column), rows = i * width + used(i) - first;
          T* const output = lower(i) + column * width;
          std::fill_n(output, first - i * width, T{0});
          std::copy_n(lower_of(column) + first - column, rows, output + first - i * width);
        }
      }
      if (I == J) complete_diagonal(T{0}, j);
    }
  }

  /// K_IJ -= L_I L_Jᵀ over all columns before block J.
  void update(PanelMatrix<T>& R, Index I, Index J) {
    multiply_block<Update::subtract, Update::subtract>(R, I, J, begin(J) * width,
                                                       [&](Index i) { return row(R, i).data; });
  }

  /// Computes A_I A_Jᵀ for block (I, J), one slice of the depth after the other. operand(i) is panel i of the rows of
  /// A. The products of a slice also prefetch the next slice, which follows it in each panel. Without this, large
  /// problems wait for memory.
  template <Update first, Update rest, class Operand>
  void multiply_block(PanelMatrix<T>& R, Index I, Index J, Index depth, const Operand& operand) {
    for (Index k = 0, slice; k < depth; k += slice) {
      slice = detail::next_slice(depth - k);
      const auto at = [&](Index i) { return operand(i) + k * width; };
      for (Index j = begin(J); j < end(J); ++j) {
        for (Index i = std::max(begin(I), j); i < end(I); ++i) {
          const Row rows = row(R, i);
          T* const c = rows.data + j * width * width;
          Ahead<T> ahead;
          if (k + slice < depth) {
            ahead.a = at(j) + (slice + slice * (i - begin(I)) / (end(I) - begin(I))) * width;
            ahead.b = at(i) + (slice + slice * (j - begin(J)) / (end(J) - begin(J))) * width;
          }
          if (k == 0) {
            square_product<first>(slice, at(j), j, at(i), rows, c, ahead);
          } else {
            square_product<rest>(slice, at(j), j, at(i), rows, c, ahead);
          }
        }
      }
    }
  }

  /// Square j of a row of panels: C = / += / -= A_i A_jᵀ for the operands a of panel j and b of the row. Columns beyond
  /// n stay as they are, except in the half tile in which n ends. Right-hand sides are set in whole tiles.
  template <Update update>
  void square_product(Index depth, const T* a, Index j, const T* b, const Row& rows, T* c, const Ahead<T>& ahead = {}) {
    const bool whole_tiles = rows.panel >= panels_ && update != Update::subtract;
    const Index count = whole_tiles ? columns(j) : round_up(used(j), tile_rows<T> / 2);
    if (rows.panel == j) {
      diagonal_product<update>(depth, a, count, c, ahead);
    } else if (transposed_is_faster<T>(depth, count, rows.used)) {
      transposed_product<update>(depth, a, b, rows.used, c, ahead);
    } else {
      panel_product<update>(depth, a, count, b, rows.used, c, ahead);
    }
  }

  /// Adds λ to the diagonal of square (j, j), sets the columns beyond n to columns of the identity, and stores a copy
  /// of the diagonal.
  void complete_diagonal(T ridge, Index j) {
    T* const square = lower(j) + j * width * width;
    T* const diagonal = diagonal_.data() + j * width;
    for (Index c = 0; c < used(j); ++c) diagonal[c] = square[c * width + c] += ridge;
    for (Index c = used(j); c < columns(j); ++c) {
      std::fill_n(square + c * width, width, T{0});
      diagonal[c] = square[c * width + c] = 1;
    }
  }

  void factor_diagonal(PanelMatrix<T>& R, Index J) {
    for (Index j = begin(J); j < end(J); ++j) {
      subtract_within_block(row(R, j), J, j);
      T* const square = lower(j) + j * width * width;
      const Index pivot = factor_square(square, columns(j), diagonal_.data() + j * width, eliminations(j));
      if (pivot >= 0) {
        status_ = {j * width + pivot, static_cast<double>(square[pivot * width + pivot])};
        failed_.store(true, std::memory_order_relaxed);
        return;
      }
      for (Index i = j + 1; i < end(J); ++i) finish_square(row(R, i), J, j);
    }
  }

  /// Makes the last part of the update of square j of a row: the columns inside block J.
  void subtract_within_block(const Row& rows, Index J, Index j) {
    const Index from = begin(J) * width;
    if (from == j * width) return;
    const T* const a = lower(j) + from * width;
    square_product<Update::subtract>(j * width - from, a, j, rows.data + from * width, rows,
                                     rows.data + j * width * width);
  }

  /// Square j of a row below the diagonal: C ← (C − L_i L_jᵀ) L_jj⁻ᵀ.
  void finish_square(const Row& rows, Index J, Index j) {
    subtract_within_block(rows, J, j);
    const Index square = j * width * width;
    solve_square(lower(j) + square, eliminations(j), columns(j), rows.used, rows.data + square);
  }

  /// R_J ← L_JJ⁻ᵀ (R_J − Σ_{I>J} L_IJᵀ R_I), after wait_for(I) has returned for each R_I.
  template <class Wait>
  void solve_transposed_block(Index J, PanelMatrix<T>& R, const Wait& wait_for) const {
    for (Index I = blocks_ - 1; I > J; --I) {
      wait_for(I);
      for (Index j = begin(J); j < end(J); ++j) subtract_transposed(j, begin(I), end(I), R);
    }
    for (Index j = end(J) - 1; j >= begin(J); --j) {
      subtract_transposed(j, j + 1, end(J), R);
      for (Index g = 0; g < R.panels(); ++g) {
        solve_transposed_square(j, R.used(g), R.panel(g) + j * width * width);
      }
    }
  }

  /// R_j -= Σ_i L_ijᵀ R_i over the panels from <= i < to. Each part of L is read once for all right-hand sides.
  void subtract_transposed(Index j, Index from, Index output, PanelMatrix<T>& R) const {
    if (from == output) return;
    for (Index c = j * width; c < j * width + columns(j); c += tile_rows<T>) {
      for (Index g = 0; g < R.panels(); ++g) {
        with_parts<T>(R.used(g), [&]<class V, int N>(Index lane) {
          T* const x = R.panel(g) + lane;
          Tile<T, N, tile_rows<T>, V> tile;
          for (Index i = from; i < output; ++i) {
            accumulate<Operand::rows>(tile, used(i), lower(i) + c * width, x + i * width * width);
          }
          for_each_vector(tile, [&](int r, int v, const V& sum) {
            T* const at = x + (c + r) * width + v * lanes<T>;
            store(at, load<T, V>(at) - sum);
          });
        });
      }
    }
  }

  /// X ← L_jj⁻ᵀ X for the first `used` numbers of each row, X [row][width], in place: row c needs the rows from c on.
  void solve_transposed_square(Index j, Index used, T* X) const {
    with_parts<T>(used, [&]<class V, int N>(Index lane) {
      for (Index c = columns(j) - tile_rows<T>; c >= 0; c -= tile_rows<T>) {
        const Index end = c + tile_rows<T>;
        T* const x = X + c * width + lane;
        Tile<T, N, tile_rows<T>, V> tile;
        accumulate<Operand::rows>(tile, columns(j) - end, lower(j) + (j * width + c) * width + end,
                                  X + end * width + lane);
        for_each_vector(tile, [&](int r, int v, V& sum) { sum = load<T, V>(x + r * width + v * lanes<T>) - sum; });
        eliminations(j)[c / tile_rows<T>].apply_transposed(tile);
        for_each_vector(tile, [&](int r, int v, const V& sum) { store(x + r * width + v * lanes<T>, sum); });
      }
    });
  }

  /// x ← L⁻¹ x for one panel of right-hand sides, x [row][width].
  template <int N>
  void solve_panel(T* x) const {
    for (Index j = 0; j < panels_; ++j) {
      T* const xj = x + j * width * width;
      for (Index c = 0; c < columns(j); c += tile_rows<T>) {
        Tile<T, N> tile;  // Σ_k L_jk x_k over the panels before
        accumulate<Operand::columns>(tile, j * width, lower(j) + c, x);
        for_each_vector(tile,
                        [&](int r, int v, Vector<T>& sum) { sum = load(xj + (c + r) * width + v * lanes<T>) - sum; });
        for_each_vector(tile,
                        [&](int r, int v, const Vector<T>& sum) { store(xj + (c + r) * width + v * lanes<T>, sum); });
      }
      solve_square(lower(j) + j * width * width, eliminations(j), columns(j), N * lanes<T>, xj);
    }
  }

  Index n_, padded_, panels_, right_panels_;
  Index block_, blocks_, right_blocks_;
  Buffer<T> lower_, diagonal_;
  std::vector<Elimination<T>> eliminations_;  // of the diagonal squares
  std::vector<std::atomic<Index>> progress_;  // number of finished columns of blocks in each row of blocks
  std::vector<std::pair<Index, Index>> tasks_;
  std::atomic<bool> failed_{false};
  FactorStatus status_;
};

}  // namespace zeroloss
