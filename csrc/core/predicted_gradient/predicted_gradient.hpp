// The predicted-gradient dynamics (Sec. 6): only the first layer moves, the second is always at its optimum φ(E).
//
//   Z = X E, H = σ(Z), K = H Hᵀ + λI, B = K⁻¹ Y, W = Hᵀ B                        (15)
//   ΔE = Xᵀ((B Wᵀ) ⊙ σ'(Z)) − E,  E ← E + η ΔE                                    (17, 20)
//
// For n > h, K has no inverse at λ = 0; then W = (HᵀH + λI)⁻¹ Hᵀ Y and B = (Y − H W)/λ. The cost is R(E) (16, 19).
// Shapes: X n × d_in, E d_in × h, W h × d_out, H n × h, K n × n, B and Y n × d_out, stored in panels
// (linalg/panels.hpp).
// Python entry: python/zeroloss/dynamics/predicted_gradient.py. Test: tests/test_predicted_gradient.py.
//
// With biases of the outputs, the last hidden unit is constant: its activation is 1 and its slope 0, and its column of
// E is 0 and stays 0. Its row of W holds the biases.
//
// A step makes four passes over the panels: H; K and its factor; the solves; everything else.
#pragma once

#include <numeric>
#include <vector>

#include "../../linalg/factor_vector.hpp"
#include "../network/activation.hpp"
#include "pair_products.hpp"

namespace zeroloss {

/// The result of advance().
struct AdvanceResult {
  Index steps = 0;  ///< steps taken
  FactorStatus status;
};

/// One simulation: the data in panels, K or its factor in the same memory, and the workspace.
template <class T>
class PredictedGradient {
 public:
  static constexpr Index width = panel_width<T>;

  /// λ = ridge must be positive if n > h. h includes the constant unit.
  PredictedGradient(const Samples<T>& samples, Activation activation, T ridge, Index h, bool has_constant_unit,
                    Team team = Team())
      : X_(std::visit([](const auto& inputs) { return PanelInputs<T>(inputs); }, samples.X)),
        n_(X_.n()),
        h_(h),
        d_out_(samples.d_out()),
        n_padded_(round_up(n_, chunk)),
        wide_(n_ <= h),
        has_constant_unit_(has_constant_unit),
        activation_(activation),
        ridge_(ridge),
        team_(team),
        Y_(d_out_, Cholesky<T>::right_rows(n_)),
        B_(d_out_, Cholesky<T>::right_rows(n_)),
        E_(h, X_.d_in() + 1),
        direction_(h, X_.d_in()),
        W_(h, round_up(d_out_, width)),
        solution_(wide_ ? PanelMatrix<T>() : PanelMatrix<T>(d_out_, Cholesky<T>::right_rows(h))),
        factor_(std::min(n_, h), d_out_),
        workspaces_(static_cast<std::size_t>(team.size())) {
    Y_.assign_rows(samples.Y.data(), n_);
    const bool copy_hidden =
        team.size() > 1 && wide_ && is_relu() && n_ * h * static_cast<Index>(sizeof(T)) <= max_copy_bytes;
    hidden_.resize(copy_hidden ? workspaces_.size() : 1);
    for (PanelMatrix<T>& H : hidden_) {
      H = wide_ ? PanelMatrix<T>(n_, round_up(h, lanes<T>)) : PanelMatrix<T>(h, n_padded_);
    }
    for (Workspace& workspace : workspaces_) {
      workspace.H = Buffer<T>(n_padded_ * width);
      workspace.sums = Buffer<T>(X_.d_in() * width);
      if (!is_relu()) workspace.S = Buffer<T>(n_padded_ * width);
    }
  }

  /// Computes ΔE (d_in × h) and W (h × d_out) at E (d_in × h). They are defined only if the status is ok.
  FactorStatus direction(const T* E, T* dE, T* W) {
    const FlushDenormals flush;
    E_.assign_rows(E, X_.d_in());
    const FactorStatus status = solve_second_layer();
    if (!status.ok()) return status;
    move_first_layer(
        [&](Index q, Index at, const T*, const Vector<T>& delta) { store(direction_.panel(q) + at, delta); });
    direction_.copy_rows(dE, X_.d_in());
    for (Index k = 0; k < h_; ++k) {
      for (Index c = 0; c < d_out_; ++c) W[k * d_out_ + c] = W_(c, k);
    }
    return status;
  }

  /// Takes `steps` steps E ← E + step_size ΔE, E: d_in × h. After a failed factorisation, E is the last one reached.
  /// Several calls give the same bits as one.
  AdvanceResult advance(T* E, T step_size, Index steps) {
    const FlushDenormals flush;
    AdvanceResult result;
    E_.assign_rows(E, X_.d_in());
    const Vector<T> eta = broadcast(step_size);
    for (; result.steps < steps; ++result.steps) {
      result.status = solve_second_layer();
      if (!result.status.ok()) break;
      move_first_layer([eta](Index, Index, T* e, const Vector<T>& delta) { store(e, load(e) + eta * delta); });
    }
    E_.copy_rows(E, X_.d_in());
    return result;
  }

  /// Returns R(E)/λ = ‖E‖² + tr(YᵀB) (19, for every λ) at the last evaluation.
  double cost() const { return inner_product(E_, E_, X_.d_in()) + inner_product(Y_, B_, n_); }

  /// Returns a lower estimate of the condition number of K, or of HᵀH + λI if n > h, at the last evaluation.
  double condition() const { return condition_estimate(factor_); }

  Index d_in() const { return X_.d_in(); }
  Index d_out() const { return d_out_; }
  Index h() const { return h_; }

 private:
  /// Up to this size, each member of the team computes its own copy of H. Reading H from the cache of another core
  /// would take longer.
  static constexpr Index max_copy_bytes = Index{4} << 20;

  /// n is padded to a multiple of this: whole tiles, and whole squares of vectors.
  static constexpr Index chunk = std::lcm<Index, Index>(lanes<T>, tile_rows<T>);

  /// Returns Σ A ⊙ B over the first rows.
  static double inner_product(const PanelMatrix<T>& A, const PanelMatrix<T>& B, Index rows) {
    double sum = 0;
    for (Index k = 0; k < rows; ++k) {
      for (Index i = 0; i < A.count(); ++i) sum += static_cast<double>(A(k, i)) * static_cast<double>(B(k, i));
    }
    return sum;
  }

  bool is_relu() const { return activation_.kind == ActivationKind::relu; }

  /// The memory of one member of the team for a panel of hidden units: H and σ' (n × width), Xᵀ G (d_in × width).
  struct Workspace {
    Buffer<T> H, S, sums;
    bool has_hidden = false;  ///< whether its copy of H belongs to the current E_
  };

  /// Computes B and, if n > h, W (in solution_) from E_ (15).
  FactorStatus solve_second_layer() {
    if (hidden_.size() > 1) {
      for (Workspace& workspace : workspaces_) workspace.has_hidden = false;
    } else {
      team_.run(hidden_[0].panels(), [&](Index j, int member) {
        compute_hidden(j, workspaces_[static_cast<std::size_t>(member)], hidden_[0]);
      });
    }
    const auto hidden_for_member = [&](int member) -> const PanelMatrix<T>& {
      if (hidden_.size() == 1) return hidden_[0];
      PanelMatrix<T>& H = hidden_[static_cast<std::size_t>(member)];
      Workspace& workspace = workspaces_[static_cast<std::size_t>(member)];
      if (!workspace.has_hidden) {
        for (Index j = 0; j < H.panels(); ++j) compute_hidden(j, workspace, H);
        workspace.has_hidden = true;
      }
      return H;
    };
    const RightSide kind = wide_ ? RightSide::given : RightSide::product;
    PanelMatrix<T>& R = wide_ ? B_ : solution_;
    const FactorStatus status = factor_.factor(team_, hidden_for_member, ridge_, Y_, kind, R);
    if (!status.ok()) return status;
    factor_.solve_transposed(team_, R);
    if (!wide_) compute_residual_from_solution();
    return status;
  }

  /// Computes panel j of H, which is one of hidden_: a panel of samples if n <= h, else of hidden units.
  void compute_hidden(Index j, Workspace& workspace, PanelMatrix<T>& H) {
    if (wide_) return compute_hidden_of_samples(j, workspace, H);
    with_vectors(E_.vectors(j),
                 [&]<int N>() { compute_hidden_panel<N>(j, 0, n_padded_, H.panel(j), workspace.S.data()); });
  }

  /// Computes the rows begin <= i < end of panel q of H into H ((end − begin) × width). S gets σ'(Z), except for ReLU,
  /// whose slope is [H > 0]. Entries beyond n and h are zero.
  template <int N>
  void compute_hidden_panel(Index q, Index begin, Index end, T* H, T* S) const {
    const T* const E = E_.panel(q);
    if (is_relu()) {
      X_.template preactivations<N>(E, begin, end, [=](Index i, int v, const Vector<T>& z) {
        store(H + (i - begin) * width + v * lanes<T>, at_least<T>(z, Vector<T>{}));
      });
      return fill_constant_unit(q, std::min(end, n_) - begin, H, 1);
    }
    X_.template preactivations<N>(
        E, begin, end, [=](Index i, int v, const Vector<T>& z) { store(H + (i - begin) * width + v * lanes<T>, z); });
    activate(activation_, H, H, S, static_cast<std::size_t>((end - begin) * width));
    const Index used = E_.used(q);
    for (Index i = begin; i < end; ++i) {
      std::fill(H + (i - begin) * width + (i < n_ ? used : 0), H + (i - begin + 1) * width, T{0});
    }
    fill_constant_unit(q, std::min(end, n_) - begin, H, 1);
  }

  /// Writes a value to the constant unit in the first rows of panel q of H, if there is one and it is in this panel.
  void fill_constant_unit(Index q, Index rows, T* H, T value) const {
    if (!has_constant_unit_ || q != (h_ - 1) / width) return;
    for (Index i = 0; i < rows; ++i) H[i * width + (h_ - 1) % width] = value;
  }

  /// Computes panel j of samples of H. It transposes one panel of hidden units after the other, so memory is written in
  /// order.
  void compute_hidden_of_samples(Index j, Workspace& workspace, PanelMatrix<T>& hidden) {
    T* const H = workspace.H.data();
    const Index begin = j * width, count = std::min(width, n_padded_ - begin);
    for (Index q = 0; q < E_.panels(); ++q) {
      T* const output = hidden.panel(j) + q * width * width;
      if (relu_of_pairs(q)) {
        transpose_pairs<T>(X_.pairs(), E_.panel(q), E_.vectors(q), begin, count, output);
        continue;
      }
      with_vectors(E_.vectors(q), [&]<int N>() {
        compute_hidden_panel<N>(q, begin, begin + count, H, workspace.S.data());
        for (Index v = 0; v < N * lanes<T>; v += lanes<T>) {
          for (Index i = 0; i < count; i += lanes<T>)
            transpose_square(H + i * width + v, width, output + v * width + i, width);
        }
      });
    }
  }

  /// Whether H is max(a + b, 0) for two rows of E for each sample.
  bool relu_of_pairs() const { return X_.has_pairs() && is_relu() && !has_constant_unit_; }

  /// The same for panel q of H.
  bool relu_of_pairs(Index q) const {
    return X_.has_pairs() && is_relu() && !(has_constant_unit_ && q == (h_ - 1) / width);
  }

  /// Computes B = (Y − H W)/λ, for n > h.
  void compute_residual_from_solution() {
    const Vector<T> scale = broadcast(1 / ridge_);
    const PanelMatrix<T>& H = hidden_[0];
    team_.run(B_.panels(), [&](Index g) {
      with_vectors(B_.vectors(g), [&]<int N>() {
        for (Index i = 0; i < n_; i += tile_rows<T>) {
          Tile<T, N> tile;  // (H W)(i, g) over the panels of hidden units
          for (Index q = 0; q < H.panels(); ++q) {
            accumulate<Operand::rows>(tile, H.used(q), H.panel(q) + i * width, solution_.panel(g) + q * width * width);
          }
          for_each_vector(tile, [&](int r, int v, const Vector<T>& sum) {
            const Index at = (i + r) * width + v * lanes<T>;
            store(B_.panel(g) + at, (load(Y_.panel(g) + at) - sum) * scale);
          });
        }
      });
    });
  }

  /// Computes ΔE (17, 20). Calls move(q, at, e, v) for each of its vectors v: `at` is its place in panel q, and e
  /// points to the same place of E.
  template <class Move>
  void move_first_layer(const Move& move) {
    if (wide_ && relu_of_pairs() && d_out_ <= most_pair_outputs<T, 1>) {
      return d_out_ <= most_pair_outputs<T, 2> ? move_by_vectors<2>(move) : move_by_vectors<1>(move);
    }
    team_.run(E_.panels(), [&](Index q, int member) {
      Workspace& workspace = workspaces_[static_cast<std::size_t>(member)];
      with_vectors(E_.vectors(q), [&]<int N>() {
        T* const H = workspace.H.data();
        if (wide_ && relu_of_pairs(q)) {
          compute_hidden_and_second_layer<N>(q, H);
        } else {
          compute_hidden_panel<N>(q, 0, n_padded_, H, workspace.S.data());
          compute_second_layer_panel<N>(q, H);
        }
        compute_gradient_panel<N>(q, H, workspace.S.data());
        X_.template transposed_product<N>(H, [q, move, E = E_.panel(q)](Index d, int v, const Vector<T>& sum) {
          const Index at = d * width + v * lanes<T>;
          move(q, at, E + at, sum - load(E + at));
        });
      });
    });
  }

  /// The same for few outputs, if relu_of_pairs(): N vectors of hidden units at a time.
  template <int N, class Move>
  void move_by_vectors(const Move& move) {
    const Index vectors = ceil_div(h_, lanes<T>);
    team_.run(ceil_div(vectors, N), [&](Index task, int member) {
      Workspace& workspace = workspaces_[static_cast<std::size_t>(member)];
      if (task * N + N <= vectors) {
        move_vectors<N>(task * N, workspace, move);
      } else {
        move_vectors<1>(task * N, workspace, move);
      }
    });
  }

  /// Moves N vectors of hidden units from number `first` on.
  template <int N, class Move>
  void move_vectors(Index first, Workspace& workspace, const Move& move) {
    const auto panel = [=](int v) { return (first + v) / panel_vectors; };
    const auto lane = [=](int v) { return (first + v) % panel_vectors * lanes<T>; };
    std::array<T*, N> E, W;
    for (int v = 0; v < N; ++v) {
      E[v] = E_.panel(panel(v)) + lane(v);
      W[v] = W_.panel(panel(v)) + lane(v);
    }
    T* const sums = workspace.sums.data();
    const Index size = X_.d_in() * width;
    for (Index at = 0; at < size; at += width) std::fill_n(sums + at, N * lanes<T>, T{0});
    if constexpr (most_pair_outputs<T, N> > 0) {
      with_rows<T, most_pair_outputs<T, N>>(d_out_, [&]<int R>() {
        multiply_and_scatter_pairs<T, R, N>(X_.pairs(), n_, E, B_.panel(0), workspace.H.data(), W, sums);
      });
    }
    for (int v = 0; v < N; ++v) {
      for (Index at = 0; at < size; at += width) {
        move(panel(v), lane(v) + at, E[v] + at, load(sums + at + v * lanes<T>) - load(E[v] + at));
      }
    }
  }

  /// Computes W = Hᵀ B for panel q of hidden units, or copies it from the solution if n > h.
  template <int N>
  void compute_second_layer_panel(Index q, const T* H) {
    if (!wide_) {
      T* const W = W_.panel(q);
      for (Index k = 0; k < W_.used(q); ++k) {
        for (Index c = 0; c < d_out_; ++c) W[c * width + k] = solution_(q * width + k, c);
      }
      return;
    }
    for (Index i = 0, slice; i < n_; i += slice) {
      slice = detail::next_slice(n_ - i);
      for (Index c = 0; c < d_out_; c += tile_rows<T>) add_second_layer_tile<N>(q, c, i, slice, H);
    }
  }

  /// Adds the samples i to i + slice to a tile of outputs of W from c on, or begins the sum if i = 0.
  template <int N>
  void add_second_layer_tile(Index q, Index c, Index i, Index slice, const T* H) {
    const T* const b = B_.panel(c / width) + i * width + c % width;
    T* const W = W_.panel(q) + c * width;
    with_rows<T>(d_out_ - c, [&]<int R>() {
      if (i == 0) {
        detail::product_tile<Update::set, T, N, R>(slice, b, H, W);
      } else {
        detail::product_tile<Update::add, T, N, R>(slice, b, H + i * width, W);
      }
    });
  }

  /// Computes panel q of H and of W = Hᵀ B, if relu_of_pairs(q). The first tile of W computes H for the others.
  template <int N>
  void compute_hidden_and_second_layer(Index q, T* H) {
    const auto pairs = X_.pairs();
    for (Index i = 0, slice; i < n_; i += slice) {
      slice = detail::next_slice(n_ - i);
      with_rows<T>(d_out_, [&]<int R>() {
        multiply_pairs<T, R, N>(pairs, E_.panel(q), i, i + slice, B_.panel(0), H, W_.panel(q));
      });
      for (Index c = tile_rows<T>; c < d_out_; c += tile_rows<T>) add_second_layer_tile<N>(q, c, i, slice, H);
    }
  }

  /// Replaces panel q of H by (B Wᵀ) ⊙ σ'(Z).
  template <int N>
  void compute_gradient_panel(Index q, T* H, const T* S) {
    const bool relu = is_relu();
    for (Index i = 0; i < n_; i += tile_rows<T>) {
      with_rows<T>(n_ - i, [&]<int R>() {
        Tile<T, N, R> tile;
        for (Index g = 0; g < B_.panels(); ++g) {
          accumulate<Operand::rows>(tile, B_.used(g), B_.panel(g) + i * width, W_.panel(q) + g * width * width);
        }
        for_each_vector(tile, [&](int r, int v, const Vector<T>& sum) {
          const Index at = (i + r) * width + v * lanes<T>;
          store(H + at, relu ? select_by_sign<T>(Vector<T>{} - load(H + at), sum, Vector<T>{}) : sum * load(S + at));
        });
      });
    }
    fill_constant_unit(q, n_, H, 0);
  }

  PanelInputs<T> X_;
  Index n_, h_, d_out_, n_padded_;
  bool wide_;  // n <= h: K is n × n
  bool has_constant_unit_;
  Activation activation_;
  T ridge_;
  Team team_;
  PanelMatrix<T> Y_, B_;                // n × d_out
  PanelMatrix<T> E_, direction_;        // d_in × h; E_ has a row of zeros at the end
  PanelMatrix<T> W_;                    // d_out × h
  std::vector<PanelMatrix<T>> hidden_;  // H: one for all members or one for each;
                                        // n <= h: h × n, panels of samples; else n × h
  PanelMatrix<T> solution_;             // n > h: W, h × d_out
  Cholesky<T> factor_;
  std::vector<Workspace> workspaces_;
};

}  // namespace zeroloss
