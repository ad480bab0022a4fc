// Full-batch gradient descent for H = σ(X E), F = H W, loss = c Σ (F − Y)² (paper, Sec. 2.1):
//   G = 2c (F − Y),  gW = Hᵀ G,  gZ = (G Wᵀ) ⊙ σ'(Z),  gE = Xᵀ gZ,
//   g = ∇ + wd θ,  v ← μ v + g,  θ ← θ − lr v.
//
// A step is two phases of independent tasks: "outputs" over blocks of samples (F, then G), and
// "gradients" over panels of hidden units (H again, gW, gE, the update). No task adds into what another
// one writes, so neither the number of threads nor the order of tasks changes a bit.
#pragma once

#include "../linalg/team.hpp"
#include "activation.hpp"
#include "descent_hidden.hpp"
#include "loss.hpp"

namespace zeroloss {

template <class T>
class Descent {
 public:
  Descent(const Samples<T>& samples, Activation activation, SquaredError loss, const Step<T>& step, Index h,
          Team team = Team())
      : X_(std::visit([](const auto& rows) { return StripRows<T>(rows); }, samples.X)),
        h_(h),
        d_out_(samples.d_out()),
        step_(step),
        team_(team),
        activation_(activation),
        fast_(activation.kind == ActivationKind::relu && X_.are_pairs()),
        sources_(fast_ && X_.d_in <= max_sources * L ? (X_.d_in + L - 1) / L : 0),
        G_scale_(static_cast<T>(2 * loss.scale(X_.n, d_out_))),
        forward_tiles_(cut_outputs(d_out_, forward_outputs)),
        backward_tiles_(cut_outputs(d_out_, backward_outputs)),
        E_(units() * X_.d_in),
        W_(units() * d_out_),
        minus_Y_(padded_samples() * d_out_),
        G_(padded_samples() * d_out_),
        E_transposed_(units() * sources_ * L),
        H_(fast_ ? 0 : units() * padded_samples()),
        S_(fast_ ? 0 : units() * padded_samples()),
        scratch_size_(outputs_scratch() + gradients_scratch()),
        scratch_(scratch_size_ * team.size()) {
    for (Index i = 0; i < X_.n; ++i)
      for (Index k = 0; k < d_out_; ++k) minus_Y_.data()[strip_offset<T>(d_out_, k, i)] = -samples.Y(X_.order(i), k);
    for (Index s = 0; sources_ > 0 && s < strip_count<T>(X_.n); ++s) gather_.emplace_back(X_.pairs() + s * L);
  }

  /// E, velocity_E (d_in × h), W, velocity_W (h × d_out); no velocities where momentum is 0.
  void advance(T* E, T* W, T* velocity_E, T* velocity_W, Index steps) {
    const bool momentum = step_.momentum != 0;
    rows_to_strips(E, X_.d_in, h_, E_.data());
    columns_to_strips(W, h_, d_out_, W_.data());
    if (momentum) {
      if (vE_.empty()) vE_ = Buffer<T>(units() * X_.d_in), vW_ = Buffer<T>(units() * d_out_);
      rows_to_strips(velocity_E, X_.d_in, h_, vE_.data());
      columns_to_strips(velocity_W, h_, d_out_, vW_.data());
    }
    for (Index u = 0; sources_ > 0 && u < strip_count<T>(h_); ++u)
      transpose_strip(u, [E = E_.data() + u * X_.d_in * L](Index j) { return load(E + j * L); });

    const Index blocks = (strip_count<T>(X_.n) + tile_strips - 1) / tile_strips;
    const Index panels = (strip_count<T>(h_) + panel_strips - 1) / panel_strips;
    for (Index t = 0; t < steps; ++t) {
      if (!fast_) share(strip_count<T>(h_), [&](Index u, T*) { activate_strip(u); });
      share(blocks, [&](Index block, T* scratch) { outputs(block, scratch); });
      share(panels, [&](Index panel, T* scratch) { gradients(panel, step_, scratch + outputs_scratch()); });
    }

    rows_from_strips(E_.data(), X_.d_in, h_, E);
    columns_from_strips(W_.data(), h_, d_out_, W);
    if (momentum) {
      rows_from_strips(vE_.data(), X_.d_in, h_, velocity_E);
      columns_from_strips(vW_.data(), h_, d_out_, velocity_W);
    }
  }

  Index d_in() const { return X_.d_in; }
  Index d_out() const { return d_out_; }
  Index h() const { return h_; }

 private:
  static constexpr int L = lanes<T>;
  static constexpr Index block_units = 256;  // of H, transposed, in the L1 cache
  static constexpr Index chunk = 192;        // samples whose H and gH stay in the L1 cache
  static constexpr Index panel_strips = 4;   // strips of units that share a chunk of G: a task
  static_assert(block_units % L == 0 && chunk % L == 0);

  Index units() const { return strip_count<T>(h_) * L; }
  Index padded_samples() const { return strip_count<T>(X_.n) * L; }
  Index outputs_scratch() const { return block_units * tile_strips * L; }
  Index gradients_scratch() const { return panel_strips * (X_.d_in + d_out_) * L + 2 * chunk * L; }

  /// Runs the tasks, each worker with scratch of its own; which worker takes a task changes nothing.
  template <class F>
  void share(Index tasks, F&& task) {
    const Index workers = std::min<Index>(team_.size(), tasks);
    team_.run(workers, [&](Index worker) {
      for (Index t = worker; t < tasks; t += workers) task(t, scratch_.data() + worker * scratch_size_);
    });
  }

  /// H = σ(X E) and S = σ'(X E) of one strip of units, kept for both phases: only ReLU on pairs is so cheap that it
  /// is found again where it is needed. Past n they stay zeros.
  void activate_strip(Index u) {
    T* const H = H_.data() + u * padded_samples() * L;
    X_.multiply(E_.data() + u * X_.d_in * L, 0, X_.n, H);
    activate(activation_, H, H, S_.data() + u * padded_samples() * L, static_cast<std::size_t>(X_.n * L));
  }

  void outputs(Index block, T* scratch) {
    const Index first = block * tile_strips;
    if (strip_count<T>(X_.n) - first >= tile_strips) {
      outputs_of_strips<tile_strips>(first, scratch);
    } else {
      for (Index s = first; s < strip_count<T>(X_.n); ++s) outputs_of_strips<1>(s, scratch);
    }
  }

  /// G = 2c (H W − Y) for `strips` strips of samples.
  template <int strips>
  void outputs_of_strips(Index strip, T* scratch) {
    const T* minus_Y = minus_Y_.data() + strip * d_out_ * L;
    T* G = G_.data() + strip * d_out_ * L;
    const auto product = [&](const auto& hidden, Index first, Index count) {
      const T* W = W_.data() + first * d_out_;
      for (const auto [k, width] : forward_tiles_)
        with_number<forward_outputs>(width, [&, k = k](auto K) {
          outputs_tile<K, strips>(hidden, count, W + k * L, d_out_, (first == 0 ? minus_Y : G) + k * L, G + k * L,
                                  d_out_, first + count == h_ ? G_scale_ : T{1});
        });
    };
    if constexpr (max_sources > 0) {
      const StripGather<T>* gather = gather_.data() + strip;
      if (sources_ > 0 && std::all_of(gather, gather + strips, [](const auto& g) { return g.pure; }))
        return product(PermutedHidden<T, strips, false>(E_transposed_.data(), sources_, gather), 0, h_);
      if (sources_ == 2) return product(PermutedHidden<T, strips, true>(E_transposed_.data(), sources_, gather), 0, h_);
    }
    for (Index first = 0; first < h_; first += block_units) {
      const Index count = std::min(block_units, h_ - first);
      for (Index u = 0; u < strip_count<T>(count); ++u)
        for (int s = 0; s < strips; ++s)
          transposed_hidden<strips>(first / L + u, strip + s, scratch + (u * L * strips + s) * L);
      product(StoredOutputsHidden<T, strips>{scratch}, first, count);
    }
  }

  /// H of one strip of units and one strip of samples, to [unit][strips][lanes].
  template <int strips>
  void transposed_hidden(Index unit_strip, Index sample_strip, T* H) const {
    const T* E = E_.data() + unit_strip * X_.d_in * L;
    Vector<T> h[L];
    if (fast_) {
      const Pair* pair = X_.pairs() + sample_strip * L;
#pragma GCC unroll 16
      for (int i = 0; i < L; ++i) {
        const Vector<T> z = load(E + pair[i].a) + load(E + pair[i].b);
        h[i] = where_active<T>(z, z);
      }
    } else {
      const T* rows = H_.data() + (unit_strip * padded_samples() + sample_strip * L) * L;
#pragma GCC unroll 16
      for (int i = 0; i < L; ++i) h[i] = load(rows + i * L);
    }
    transpose<T>(h);
#pragma GCC unroll 16
    for (int i = 0; i < L; ++i) store(H + i * strips * L, h[i]);
  }

  /// gW, gE and the update of one panel of hidden units.
  void gradients(Index panel, const Step<T>& step, T* scratch) {
    const Index begin = panel * panel_strips;
    const Index end = std::min(begin + panel_strips, strip_count<T>(h_));
    T* gE = scratch + 2 * chunk * L;  // zeros here, before and after
    T* gW = gE + panel_strips * X_.d_in * L;
    const auto gE_of = [&](Index u) { return gE + (u - begin) * X_.d_in * L; };
    if (fast_ && backward_tiles_.size() == 1 && X_.n <= chunk) {
      with_number<backward_outputs>(d_out_, [&](auto K) { small_gradients<K>(begin, end, step, gE_of); });
      return;
    }
    for (Index first = 0; first < X_.n; first += chunk) {
      const Index count = std::min(chunk, X_.n - first);
      for (Index u = begin; u < end; ++u)
        gradients_of_chunk(u, first, count, step, gE_of(u), gW + (u - begin) * d_out_ * L, scratch);
    }
    for (Index u = begin; u < end; ++u) update_E(u, step, gE_of(u));
  }

  /// The same for one chunk and one tile of d_out outputs: a problem so small that calls cost. The update of E
  /// comes one strip late, when no multiply-add under way has to end before it.
  template <int d_out, class Where>
  void small_gradients(Index begin, Index end, const Step<T>& step, const Where& gE_of) {
    for (Index u = begin; u < end; ++u) {
      const Index w = u * d_out * L;
      const ReluPairs<T, true, true> rows{E_.data() + u * X_.d_in * L, gE_of(u), X_.pairs(), nullptr, nullptr};
      gradients_tile<d_out>(rows, GradientsTile<T>{X_.n, G_.data(), d_out, W_.data() + w, nullptr,
                                                   step.momentum != 0 ? vW_.data() + w : nullptr, true, true, step});
      if (u > begin) update_E(u - 1, step, gE_of(u - 1));
    }
    update_E(end - 1, step, gE_of(end - 1));
  }

  /// Calls f with both conditions as compile-time constants.
  template <class F>
  static void with_ends(bool first, bool last, const F& f) {
    if (first && last)
      f(std::true_type{}, std::true_type{});
    else if (first)
      f(std::true_type{}, std::false_type{});
    else if (last)
      f(std::false_type{}, std::true_type{});
    else
      f(std::false_type{}, std::false_type{});
  }

  /// gW (strip u) += Hᵀ G and gE (strip u) += Xᵀ gZ over samples [first, first + count);
  /// W takes its step after the last ones.
  void gradients_of_chunk(Index u, Index first, Index count, const Step<T>& step, T* gE, T* gW, T* scratch) {
    const T* E = E_.data() + u * X_.d_in * L;
    T *H = scratch, *gH = H + chunk * L;
    const auto tile = [&](const auto& rows, Index k, Index width) {
      const Index w = (u * d_out_ + k) * L;
      const GradientsTile<T> t{count,      G_.data() + first * d_out_ + k * L,
                               d_out_,     W_.data() + w,
                               gW + k * L, step.momentum != 0 ? vW_.data() + w : nullptr,
                               first == 0, first + count == X_.n,
                               step};
      with_number<backward_outputs>(width, [&](auto K) { gradients_tile<K>(rows, t); });
    };
    const Pair* pairs = X_.pairs() + first;
    const Index at = (u * padded_samples() + first) * L;
    const T *stored_H = H_.data() + at, *S = S_.data() + at;
    if (X_.are_pairs()) {
      for (const auto [k, width] : backward_tiles_) {
        with_ends(k == 0, k + width == d_out_, [&, k = k, width = width](auto is_first, auto is_last) {
          if (fast_)
            tile(ReluPairs<T, is_first, is_last>{E, gE, pairs, H, gH}, k, width);
          else
            tile(StoredPairs<T, is_first, is_last>{stored_H, S, gE, pairs, gH}, k, width);
        });
      }
      return;
    }
    std::fill(gH, gH + count * L, T{});
    for (const auto [k, width] : backward_tiles_) tile(StoredGradientHidden<T>{stored_H, gH}, k, width);
    for (Index i = 0; i < count; ++i) store(gH + i * L, load(gH + i * L) * load(S + i * L));
    X_.scatter(gH, first, first + count, gE);
  }

  /// The step of one strip of E, gE back to zero, and the strip's rows of Eᵀ.
  void update_E(Index u, const Step<T>& step, T* gE) {
    if (step.momentum != 0)
      update_E(u, gE, [step, v = vE_.data() + u * X_.d_in * L](Vector<T> e, Vector<T> g, Index j) {
        return step.updated(e, g, v + j * L);
      });
    else
      update_E(u, gE, [step](Vector<T> e, Vector<T> g, Index) { return step.updated(e, g); });
  }
  template <class Updated>
  [[gnu::always_inline]] void update_E(Index u, T* gE, const Updated updated) {
    T* E = E_.data() + u * X_.d_in * L;
    const auto row = [=](Index j) {
      const Vector<T> e = updated(load(E + j * L), load(gE + j * L), j);
      store(E + j * L, e);
      store(gE + j * L, Vector<T>{});
      return e;
    };
    if (sources_ > 0) return transpose_strip(u, row);
    for (Index j = 0; j < X_.d_in; ++j) row(j);
  }

  /// (Inlined by force, as calls inside the strip loop cost the smallest problems 4 %.)
  /// Eᵀ for the units of strip u, a square block per register of a row; row(j) is row j of E's strip.
  template <class Row>
  [[gnu::always_inline]] void transpose_strip(Index u, const Row row) {
    T* Et = E_transposed_.data() + u * sources_ * L * L;
    const Index d_in = X_.d_in;
    for (Index first = 0; first < d_in; first += L, Et += L * L) {
      Vector<T> v[L];
#pragma GCC unroll 16
      for (int r = 0; r < L; ++r) v[r] = first + r < d_in ? row(first + r) : Vector<T>{};
      transpose<T>(v);
#pragma GCC unroll 16
      for (int r = 0; r < L; ++r) store(Et + r * L, v[r]);
    }
  }

  const StripRows<T> X_;
  const Index h_, d_out_;
  const Step<T> step_;
  const Team team_;
  const Activation activation_;
  const bool fast_;      // ReLU on pairs
  const Index sources_;  // registers per row of Eᵀ, 0 where H is transposed instead
  const T G_scale_;      // 2c
  const std::vector<OutputRange> forward_tiles_, backward_tiles_;
  Buffer<T> E_, W_, vE_, vW_, minus_Y_, G_, E_transposed_;
  Buffer<T> H_, S_;                     // [strip of units][sample][lanes], unless they are found again
  std::vector<StripGather<T>> gather_;  // [strip of samples], where Eᵀ is in use
  const Index scratch_size_;
  Buffer<T> scratch_;
};

}  // namespace zeroloss
