// Products with K = J P Jᵀ for n ≤ h, without forming J. P projects the first layer off the pinned pairs
// (kink_constraints.hpp), one hidden unit u after the other:
//   K R = Σ_u (s_u ⊙ X P_u Xᵀ (s_u ⊙ R w_uᵀ)) w_u + H Hᵀ R,  s_u = σ'(Z_u), w_u row u of W, R n × d_out.
// A task takes a panel of units through all parts of its term while they are in the cache.
// Test: tests/test_kink_constraints.py, tests/test_geometry.py.
#pragma once

#include <algorithm>
#include <array>
#include <vector>

#include "../../linalg/symmetric_product.hpp"
#include "../network/panel_inputs.hpp"
#include "jacobian.hpp"
#include "kink_constraints.hpp"

namespace zeroloss {

/// The product, with copies of S, W and H Hᵀ in panels (linalg/panels.hpp).
class GramProduct {
 public:
  explicit GramProduct(const Samples<double>& samples, Team team = Team())
      : X_(std::visit([](const auto& inputs) { return PanelInputs<double>(inputs); }, samples.X)),
        team_(team),
        workspaces_(static_cast<std::size_t>(team.size())) {}

  /// Moves to the point of J.
  void move(const Jacobian& J) {
    const Index n = J.H().rows(), h = J.H().cols(), d_out = J.W().cols();
    const Index rows = round_up(n, tile_rows<double>);
    if (W_.count() != d_out || S_.count() != h) {
      S_ = Panels(h, rows);
      W_ = Panels(d_out, round_up(h, width));
      transposed_W_ = Panels(h, round_up(d_out, width));
      readout_ = Panels(n, n);
      R_ = Panels(d_out, rows);
      for (Panels& sums : sums_) sums = Panels(d_out, rows);
      for (Workspace& workspace : workspaces_)
        workspace = Workspace{Buffer<double>(rows * width), Buffer<double>((X_.d_in() + 1) * width)};
    }
    S_.assign_rows(J.S().data(), n);
    W_.assign_rows(J.W().data(), h);
    const Matrix<double> transposed = J.W().transpose();
    transposed_W_.assign_rows(transposed.data(), d_out);
    square_.resize(n, n);
    J.readout_gram(square_);
    square_.triangularView<Eigen::StrictlyUpper>() = square_.transpose();
    readout_.assign_rows(square_.data(), n);
  }

  /// product = K R. Without constraints, P is the identity.
  void multiply(const Matrix<double>& R, const KinkConstraints* constraints, Matrix<double>& product) {
    const FlushDenormals flush;
    R_.assign_rows(R.data(), R.rows());
    const Index panels = S_.panels(), parts = std::min(panels, static_cast<Index>(sums_.size()));
    team_.run(parts, [&](Index part, int member) {
      Panels& sums = sums_[static_cast<std::size_t>(part)];
      const Index begin = part * panels / parts, end = (part + 1) * panels / parts;
      for (Index q = begin; q < end; ++q)
        with_vectors(S_.vectors(q), [&]<int N>() {
          Workspace& workspace = workspaces_[static_cast<std::size_t>(member)];
          multiply_units<N>(q, constraints, workspace);
          add_outputs(q, q == begin, workspace.G.data(), sums);
        });
    });
    team_.run(readout_.panels(), [&](Index j) { add_readout(j); });
    product.resize(R.rows(), R.cols());
    sums_[0].copy_rows(product.data(), R.rows());
  }

 private:
  using Panels = PanelMatrix<double>;
  static constexpr Index width = panel_width<double>;

  struct Workspace {
    Buffer<double> G, V;  // n × width, (d_in + 1) × width with a row of zeros at the end
  };

  /// G = (X P Xᵀ ((R Wᵀ) ⊙ S)) ⊙ S for panel q of units.
  template <int N>
  void multiply_units(Index q, const KinkConstraints* constraints, Workspace& workspace) const {
    double *const G = workspace.G.data(), *const V = workspace.V.data();
    const double* const S = S_.panel(q);
    for (Index i = 0; i < S_.depth(); i += tile_rows<double>) {
      Tile<double, N> tile;  // of R Wᵀ
      for (Index g = 0; g < R_.panels(); ++g)
        accumulate<Operand::rows>(tile, R_.used(g), R_.panel(g) + i * width,
                                  transposed_W_.panel(q) + g * width * width);
      for_each_vector(tile, [&](int r, int v, const Vector<double>& sum) {
        const Index at = (i + r) * width + v * lanes<double>;
        store(G + at, sum * load(S + at));
      });
    }
    X_.template transposed_product<N>(
        G, [V](Index d, int v, const Vector<double>& sum) { store(V + d * width + v * lanes<double>, sum); });
    if (constraints) constraints->project_units(q * width, S_.used(q), V, width);
    X_.template preactivations<N>(V, 0, S_.depth(), [G, S](Index i, int v, const Vector<double>& z) {
      const Index at = i * width + v * lanes<double>;
      store(G + at, z * load(S + at));
    });
  }

  /// sums += G W for panel q of units, or = for the first one.
  void add_outputs(Index q, bool is_first, const double* G, Panels& sums) const {
    for (Index g = 0; g < sums.panels(); ++g)
      with_vectors(sums.vectors(g), [&]<int N>() {
        if (is_first)
          put_outputs<Update::set, N>(q, g, G, sums.panel(g));
        else
          put_outputs<Update::add, N>(q, g, G, sums.panel(g));
      });
  }

  /// The same for panel g of outputs.
  template <Update update, int N>
  void put_outputs(Index q, Index g, const double* G, double* sums) const {
    for (Index i = 0; i < S_.depth(); i += tile_rows<double>) {
      Tile<double, N> tile;
      accumulate<Operand::rows>(tile, S_.used(q), G + i * width, W_.panel(g) + q * width * width);
      for_each_vector(tile, [&](int r, int v, const Vector<double>& sum) {
        detail::put<update>(sums + (i + r) * width + v * lanes<double>, sum);
      });
    }
  }

  /// Adds the parts of the sum over units and H Hᵀ R for a panel of samples to sums_[0].
  void add_readout(Index j) {
    for (Index g = 0; g < R_.panels(); ++g)
      with_vectors(R_.vectors(g), [&]<int N>() {
        for (Index row = 0; row < readout_.used(j); row += tile_rows<double>) {
          Tile<double, N> tile;
          accumulate<Operand::columns>(tile, readout_.depth(), readout_.panel(j) + row, R_.panel(g));
          for_each_vector(tile, [&](int r, int v, Vector<double>& sum) {
            const Index at = (j * width + row + r) * width + v * lanes<double>;
            for (const Panels& sums : sums_) sum += load(sums.panel(g) + at);
            store(sums_[0].panel(g) + at, sum);
          });
        }
      });
  }

  PanelInputs<double> X_;
  Team team_;
  Panels S_, transposed_W_;     // n × h, d_out × h
  Panels W_;                    // h × d_out
  Panels readout_;              // H Hᵀ, n × n
  Panels R_;                    // n × d_out
  std::array<Panels, 8> sums_;  // parts of the sum over units; a fixed number, so the bits do not depend on the threads
  Matrix<double> square_;
  std::vector<Workspace> workspaces_;
};

}  // namespace zeroloss
