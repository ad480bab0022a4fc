// A preconditioner of J Jᵀ + δI with n × n factors. The readout's part of J Jᵀ is H Hᵀ ⊗ I. The first layer's part,
// (X Xᵀ)_ij Σ_u σ'(Z_iu) σ'(Z_ju) W_uk W_ul, is replaced by the Kronecker product M ⊗ C with C = WᵀW and
//   M_ij = (X Xᵀ)_ij Σ_u σ'(Z_iu) σ'(Z_ju) ‖W_u‖² / tr C,
// which has the same sum over k = l. Along an eigenvector of C with the eigenvalue γ, the outputs then have the matrix
// H Hᵀ + γ M + δI. Eigenvalues that differ little share a factor, with their mean.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "../../linalg/cholesky.hpp"
#include "../math/symmetric_eigen.hpp"
#include "gram.hpp"

namespace zeroloss {

/// The preconditioner, with workspace. It takes up to `most_groups` factors.
class KroneckerPreconditioner {
 public:
  static constexpr std::size_t most_groups = 3;

  explicit KroneckerPreconditioner(Team team) : team_(team) {}

  /// Factors up to `groups` matrices at the point of J; a single one is the mean over outputs of the diagonal blocks of
  /// J Jᵀ. Returns false if one of them is singular.
  bool factor(const Jacobian& J, Gram& gram, double shift, std::size_t groups = most_groups) {
    const Index n = J.H().rows();
    const Eigen::MatrixXd C = J.W().transpose() * J.W();
    const SymmetricEigen outputs = symmetric_eigen(C);
    basis_ = outputs.vectors;
    if (groups == 1) basis_.setIdentity();  // any basis will do
    group_eigenvalues(outputs.values, groups);
    const double trace = C.trace();
    gram.mean_first_layer(J, trace > 0 ? 1 / trace : 0, mean_);
    readout_.resize(n, n);
    K_.resize(n, n);
    J.readout_gram(readout_);
    trace_ = static_cast<double>(C.rows()) * readout_.trace() + trace * gram.trace_of_pairs(mean_);
    pack_basis();
    const FlushDenormals flush;  // as in blocks
    for (std::size_t g = 0; g < count_; ++g) {
      K_.triangularView<Eigen::Lower>() = readout_;
      gram.add_pairs(groups_[g].eigenvalue, mean_, K_);
      K_.diagonal().array() += shift;
      if (!factors_[g]) factors_[g] = std::make_unique<Cholesky<double>>(n, 0);
      if (!factors_[g]->factor_matrix(team_, [&](Index j) { return &K_(j, j); }).ok()) return false;
    }
    return true;
  }

  double trace() const { return trace_; }  ///< the trace of J Jᵀ, also if a matrix is singular

  /// Z = the preconditioner's inverse times R.  R, Z: n × d_out
  void solve(const Matrix<double>& R, Matrix<double>& Z) {
    const FlushDenormals flush;
    R_.assign_rows(R.data(), R.rows());
    team_.run(static_cast<Index>(blocks_.size()),
              [&](Index block) { solve_block(blocks_[static_cast<std::size_t>(block)]); });
    team_.run(ceil_div(R_.depth(), rows_), [&](Index task) {
      for (Index i = task * rows_; i < std::min((task + 1) * rows_, R_.depth()); i += tile_rows<double>) rotate_back(i);
    });
    Z.resize(R.rows(), R.cols());
    R_.copy_rows(Z.data(), R.rows());
  }

 private:
  static constexpr double ratio_ = 3;  // of the eigenvalues in a group, except the last group
  static constexpr Index width = panel_width<double>, rows_ = 8 * tile_rows<double>;

  struct Group {
    Index begin, end;
    double eigenvalue;
  };

  /// Eigenvectors that one task solves for: a panel.
  struct Block {
    std::size_t group;
    Index begin, length;
    PanelMatrix<double> basis, columns;  ///< the eigenvectors, d_out × length; right-hand sides, n × length
  };

  /// Divides eigenvalues in ascending order into groups, from the greatest on.
  void group_eigenvalues(const Eigen::VectorXd& eigenvalues, std::size_t most) {
    blocks_.clear();
    count_ = 0;
    for (Index end = eigenvalues.size(); end > 0; ++count_) {
      Index begin = count_ + 1 == most ? 0 : end - 1;
      while (begin > 0 && ratio_ * eigenvalues[begin - 1] >= eigenvalues[end - 1]) --begin;
      groups_[count_] = {begin, end, std::max(0.0, eigenvalues.segment(begin, end - begin).mean())};
      for (Index first = begin; first < end; first += width)
        blocks_.push_back({count_, first, std::min(width, end - first), {}, {}});
      end = begin;
    }
  }

  /// Copies the eigenvectors to panels, and allocates memory for right-hand sides.
  void pack_basis() {
    const Index n = readout_.rows(), d_out = basis_.rows();
    if (R_.count() != d_out) R_ = PanelMatrix<double>(d_out, round_up(n, tile_rows<double>));
    transposed_basis_ = PanelMatrix<double>(d_out, d_out);
    transposed_basis_.assign_rows(basis_.data(), d_out);  // basis_ is column-major
    for (Block& block : blocks_) {
      block.basis = PanelMatrix<double>(block.length, round_up(d_out, width));
      for (Index k = 0; k < d_out; ++k)
        for (Index e = 0; e < block.length; ++e) block.basis(k, e) = basis_(k, block.begin + e);
      block.columns = PanelMatrix<double>(block.length, Cholesky<double>::right_rows(n));
    }
  }

  /// Solves for the part of R along the eigenvectors of a block.
  void solve_block(Block& block) {
    with_vectors(block.columns.vectors(0), [&]<int N>() {
      for (Index i = 0; i < R_.depth(); i += tile_rows<double>) {
        Tile<double, N> tile;
        for (Index g = 0; g < R_.panels(); ++g)
          accumulate<Operand::rows>(tile, R_.used(g), R_.panel(g) + i * width,
                                    block.basis.panel(0) + g * width * width);
        store_tile(tile, block.columns.panel(0) + i * width);
      }
    });
    factors_[block.group]->solve(Team(), block.columns);
  }

  /// Computes a tile of rows of the result from all blocks, in R_.
  void rotate_back(Index i) {
    for (Index g = 0; g < R_.panels(); ++g)
      with_vectors(R_.vectors(g), [&]<int N>() {
        Tile<double, N> tile;
        for (Block& block : blocks_)
          accumulate<Operand::rows>(tile, block.length, block.columns.panel(0) + i * width,
                                    transposed_basis_.panel(g) + block.begin * width);
        store_tile(tile, R_.panel(g) + i * width);
      });
  }

  template <int N>
  [[gnu::always_inline]] static void store_tile(Tile<double, N>& tile, double* output) {
    for_each_vector(
        tile, [&](int r, int v, const Vector<double>& sum) { store(output + r * width + v * lanes<double>, sum); });
  }

  Team team_;
  Eigen::MatrixXd basis_, K_, readout_;
  Eigen::VectorXd mean_;  // M, for each pair of overlapping samples
  std::array<Group, most_groups> groups_;
  std::array<std::unique_ptr<Cholesky<double>>, most_groups> factors_;
  std::size_t count_ = 0;
  std::vector<Block> blocks_;
  PanelMatrix<double> transposed_basis_, R_;  // d_out × d_out, n × d_out
  double trace_ = 0;
};

}  // namespace zeroloss
