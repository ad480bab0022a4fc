// The samples of a descent in strips: inputs, targets, outputs, and the losses and errors of each sample.
#pragma once

#include "../../linalg/sums.hpp"
#include "../network/activation.hpp"
#include "../network/cross_entropy.hpp"
#include "../network/loss.hpp"
#include "../network/record.hpp"
#include "descent_hidden.hpp"

namespace zeroloss {

template <class T>
struct DescentSamples {
  static constexpr int L = lanes<T>;

  DescentSamples(const Samples<T>& samples, const Loss& loss)
      : X(std::visit([](const auto& inputs) { return StripInputs<T>(inputs); }, samples.X)),
        n(X.n),
        strips(strip_count<T>(n)),
        hidden_stride(((strips * L * register_bytes + 63) / 64 | 1) * 64 / register_bytes),
        d_out(samples.d_out()),
        is_cross_entropy(loss.kind == LossKind::cross_entropy),
        c(loss.scale(std::max<Index>(n, 1), d_out)),
        temperature(loss.temperature),
        minus_Y(strips * d_out * L),
        G(strips * d_out * L),
        losses(strips * L),
        targets(strips * L),
        squares(strips * L),
        correct(strips * L) {
    for (Index i = 0; i < n; ++i) {
      const auto row = samples.Y.row(X.caller_row(i));
      for (Index k = 0; k < d_out; ++k) minus_Y.data()[strip_offset<T>(d_out, k, i)] = -row(k);
      targets.data()[i] = static_cast<T>(std::max_element(row.data(), row.data() + d_out) - row.data());
    }
  }

  /// Room for `count` of the samples of `all`. The caller writes their targets to minus_Y.
  DescentSamples(const DescentSamples& all, Index count, const Loss& loss)
      : X(all.X, count),
        n(count),
        strips(strip_count<T>(n)),
        hidden_stride(all.hidden_stride),
        d_out(all.d_out),
        is_cross_entropy(all.is_cross_entropy),
        c(loss.scale(n, d_out)),
        temperature(all.temperature),
        minus_Y(strips * d_out * L),
        G(strips * d_out * L),
        losses(strips * L) {}

  /// Copies the inputs at n increasing positions of `all`.
  void copy_inputs(const DescentSamples& all, const Index* positions) {
    X.copy_rows(all.X, positions);
    if (!gathers.empty()) find_gathers(split_);
  }

  /// Finds how the pairs of each strip gather their numbers from rows of Eᵀ, which begin a new register at `split`.
  void find_gathers(Index split) {
    split_ = split;
    gathers.clear();
    for (Index s = 0; s < strips; ++s) gathers.emplace_back(X.template hot_rows<2>().from(s * L), split);
  }

  /// H and S for one strip of units; null if they are not stored.
  T* H_of(Index u) { return H.empty() ? nullptr : H.data() + u * hidden_stride * L; }
  T* S_of(Index u) { return S.empty() ? nullptr : S.data() + u * hidden_stride * L; }

  T* G_of(Index s) { return G.data() + s * d_out * L; }
  const T* minus_Y_of(Index s) const { return minus_Y.data() + s * d_out * L; }

  /// Computes and stores H = σ(X E) and S = σ'(X E) of strip u of units, whose strip of E is given. This is not needed
  /// for ReLU on k-hot rows and other cheap activations on pairs, which each phase computes again. S of ReLU is not
  /// stored. Rows beyond n stay zero.
  void activate_strip(const Activation& activation, const T* E, Index u) {
    T *const h = H_of(u), *const s = S_of(u);
    if (activation.kind == ActivationKind::relu)
      return X.multiply(E, h, [](Vector<T> z) { return z < Vector<T>{} ? Vector<T>{} : z; });
    if (X.hot_count() == 2) return activate_registers(activation, X.pair_sums(E), h, s, static_cast<std::size_t>(n));
    X.multiply(E, h, [](Vector<T> z) { return z; });
    activate(activation, h, h, s, static_cast<std::size_t>(n * L));
  }

  /// Sets G of a strip of samples to c − Y, or to c for the cross-entropy, where c are biases of the outputs.
  void start_outputs(Index s, const T* biases) {
    for (Index k = 0; k < d_out; ++k)
      store(G_of(s) + k * L, is_cross_entropy ? broadcast(biases[k]) : load(minus_Y_of(s) + k * L) + biases[k]);
  }

  /// Finishes a strip of samples whose outputs have been computed. Computes G = ∂loss/∂F (for the squared error it is
  /// there already) and, if a loss is wanted, the loss of each sample. If a record is wanted, also computes Σ_k (F −
  /// Y)² and whether the largest output belongs to the largest target; of equal values the first counts.
  void finish(Index s, bool wants_loss, bool wants_record) {
    T *const g = G_of(s), *const sample_losses = losses.data() + s * L;
    if (wants_record) evaluate_outputs(s);
    if (is_cross_entropy) return cross_entropy(d_out, static_cast<T>(c / temperature), minus_Y_of(s), g, sample_losses);
    if (!wants_loss) return;
    Vector<T> sum{};
    for (Index k = 0; k < d_out; ++k) sum += load(g + k * L) * load(g + k * L);
    store(sample_losses, sum * broadcast(static_cast<T>(1 / (4 * c * c))));
  }

  /// Writes Σ_i G_i to the first d_out of d_out · L numbers.
  void sum_gradients(T* sums) const {
    std::fill_n(sums, d_out * L, T{});
    for (Index s = 0; s < strips; ++s) {
      const T* const g = G.data() + s * d_out * L;
      const Index used = std::min<Index>(L, n - s * L);
      for (Index k = 0; k < d_out * L; k += L)
        if (used == L)
          store(sums + k, load(sums + k) + load(g + k));
        else
          for (Index i = 0; i < used; ++i) sums[k + i] += g[k + i];
    }
    for (Index k = 0; k < d_out; ++k) sums[k] = std::accumulate(sums + k * L, sums + (k + 1) * L, T{});
  }

  double loss() const { return c * sum(losses); }
  Evaluation evaluation() const {
    if (n == 0) return {};
    return {loss(), sum(correct) / static_cast<double>(n), std::sqrt(sum(squares))};
  }

  StripInputs<T> X;
  const Index n, strips;
  const Index hidden_stride;  // samples in a strip of H; an odd number of cache lines, to avoid conflicts in the cache
  const Index d_out;
  const bool is_cross_entropy;  // else the squared error
  const double c;               // the factor of the loss (loss.hpp)
  const double temperature;     // of the cross-entropy
  Buffer<T> minus_Y, G;
  Buffer<T> losses;                     // [sample], without the factor c
  Buffer<T> targets, squares, correct;  // [sample]: index of the largest target, Σ_k (F − Y)², 1 if correct else 0
  Buffer<T> H, S;                       // [strip of units][hidden_stride][lanes]; empty if they are not stored
  std::vector<StripGather<T>> gathers;  // [strip of samples]; empty if Eᵀ is not used

 private:
  Index split_ = 0;

  [[gnu::noipa, gnu::noinline]] void evaluate_outputs(Index s) {
    const T *const g = G_of(s), *const minus_y = minus_Y_of(s);
    const Vector<T> unscale_G = broadcast(static_cast<T>(is_cross_entropy ? temperature : 1 / (2 * c)));
    Vector<T> sum{}, largest{}, largest_output{};
    for (Index k = 0; k < d_out; ++k) {
      const Vector<T> y = -load(minus_y + k * L);
      const Vector<T> value = load(g + k * L) * unscale_G;  // F, or F − Y for the squared error
      const Vector<T> difference = is_cross_entropy ? value - y : value;
      const Vector<T> F = is_cross_entropy ? value : difference + y;
      sum += difference * difference;
      if (k > 0) largest_output = F > largest ? broadcast(static_cast<T>(k)) : largest_output;
      if (k == 0)
        largest = F;
      else
        largest = F > largest ? F : largest;
    }
    store(squares.data() + s * L, sum);
    store(correct.data() + s * L, largest_output == load(targets.data() + s * L) ? broadcast(T(1)) : Vector<T>{});
  }

  double sum(const Buffer<T>& values) const {
    return sum_of(n, [a = values.data()](Index i) { return static_cast<double>(a[i]); });
  }
};

}  // namespace zeroloss
