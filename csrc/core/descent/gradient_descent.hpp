// Full-batch gradient descent and AdamW for F = H W, H = σ(Z), Z = X E (Sec. 2.1). One step computes
//   G = ∂loss/∂F,  gW = Hᵀ G,  gZ = (G Wᵀ) ⊙ σ'(Z),  gE = Xᵀ gZ
// and updates θ = (E, W), without momentum by θ ← θ − lr (∇ + wd θ) (Eq. 13). G = 2c (F − Y) for the squared error.
// Shapes: X n × d_in, E d_in × h, W h × d_out, Y, F and G n × d_out, all stored in strips (linalg/strips.hpp).
// Python entry: python/zeroloss/dynamics/descent.py. Test: tests/test_gradient_descent.py.
//
// A step has two phases of independent tasks. "Outputs" computes F and G for blocks of samples. "Gradients" computes H
// again, gW, gE and the update for panels of hidden units. No task writes what another task writes, so the bits do not
// depend on the number of threads or on the order of tasks.
#pragma once

#include "../../linalg/flush_denormals.hpp"
#include "../../linalg/team.hpp"
#include "../network/activation.hpp"
#include "../network/record.hpp"
#include "descent_chunk.hpp"
#include "descent_samples.hpp"
#include "norm_control.hpp"
#include "outputs_along_samples.hpp"
#include "outputs_along_units.hpp"
#include "sampling.hpp"

namespace zeroloss {

/// The caller's arrays that steps change: θ, the state of the optimizer and of the norm constraint (null if not used),
/// and the number of steps taken.
template <class T>
struct DescentState {
  Layers<T> theta, velocity, compensation, squares;
  double* reference_norm = nullptr;
  Index* steps = nullptr;
};

template <class T>
class Descent {
 public:
  /// Descends on the samples `train`. The samples `test` are only evaluated in records; there may be none.
  Descent(const Samples<T>& train, const Samples<T>& test, Activation activation, Loss loss, const Optimizer& optimizer,
          const NormControl& control, Index h, Team team = Team(), const Sampling& sampling = {})
      : train_(train, loss),
        test_(test, loss),
        X_(train_.X),
        h_(h),
        d_out_(train_.d_out),
        optimizer_(optimizer),
        control_(control),
        team_(team),
        activation_(activation),
        relu_on_pairs_(activation.kind == ActivationKind::relu && X_.are_pairs() &&
                       (test_.n == 0 || test_.X.are_pairs())),
        registers_per_row_(relu_on_pairs_ && X_.d_in <= max_registers_per_row * L ? (X_.d_in + L - 1) / L : 0),
        forward_tiles_(cut_outputs(d_out_, forward_outputs)),
        backward_tiles_(cut_outputs(d_out_, backward_outputs)),
        theta_(true, X_.d_in, h, d_out_),
        velocity_(optimizer.has_velocity(), X_.d_in, h, d_out_),
        compensation_(optimizer.compensated, X_.d_in, h, d_out_),
        squares_(optimizer.has_squares(), X_.d_in, h, d_out_),
        E_transposed_(units() * registers_per_row_ * L),
        zeros_(train_.is_cross_entropy ? tile_strips * d_out_ * L : 0),
        scratch_size_(outputs_scratch() + gradients_scratch()),
        scratch_(scratch_size_ * team.size()) {
    const auto prepare = [&](DescentSamples<T>& samples) {
      for (Index s = 0; registers_per_row_ > 0 && s < samples.strips; ++s)
        samples.gathers.emplace_back(samples.X.pairs() + s * L);
      if (relu_on_pairs_) return;
      samples.H = Buffer<T>(units() * samples.hidden_stride);
      samples.S = Buffer<T>(units() * samples.hidden_stride);
    };
    prepare(train_);
    prepare(test_);
    if (!sampling.is_used()) return;
    sampler_.emplace(sampling, train_, loss);
    sampler_->for_each(prepare);
  }
  Descent(const Descent&) = delete;  // batch_ and X_ refer to members
  Descent& operator=(const Descent&) = delete;

  /// Takes the steps of a request. If the request asks for them, writes the losses to `losses` (steps) and the records
  /// to `records` (record_at). Returns false if a number of the state is not finite after the last step. Such a number
  /// never becomes finite again, so this check covers every step.
  bool advance(const DescentState<T>& state, const DescentChunk& request, double* losses, Record* records) {
    const FlushDenormals flush;
    load_state(state);
    const Index first_step = *state.steps;
    auto record_at = request.record_at.begin();
    for (Index t = 0; t < request.steps; ++t) {
      const bool recorded = record_at != request.record_at.end() && *record_at == t;
      if (!sampler_ || request.losses || recorded) forward(train_, request.losses, recorded);
      if (request.losses) losses[t] = train_.loss();
      if (recorded) {
        *records++ = describe();
        ++record_at;
      }
      if (sampler_) {
        batch_ = &sampler_->draw(first_step + t, team_);
        forward(*batch_, false, false);
      }
      if (control_.is_reference_step(first_step + t)) *state.reference_norm = control_.norm(theta_);
      const double rate = request.rates.empty() ? optimizer_.lr : request.rates[static_cast<std::size_t>(t)];
      update(rate, first_step + t + 1);
      if (control_.applies_at(first_step + t) && control_.apply(*state.reference_norm, theta_, compensation_))
        transpose_E();
    }
    bool finite = true;
    for (const auto* layers : {&theta_, &velocity_, &compensation_, &squares_}) finite &= layers->are_finite();
    store_state(state);
    *state.steps += request.steps;
    return finite;
  }

  /// Makes a record of θ, with the same bits as a record of advance().
  Record record(Layers<T> theta) {
    const FlushDenormals flush;
    theta_.load_from(theta, relu_on_pairs_);
    transpose_E();
    forward(train_, true, true);
    return describe();
  }

  /// Takes a plain step θ ← θ − rate (∇ + wd θ) of the parameters in `strips`, which `moved` must know if they were
  /// changed from outside. Denormals should be flushed.
  void step(double rate) {
    forward(train_, false, false);
    update(rate, 1);
  }
  LayerStrips<T>& strips() { return theta_; }  ///< E is negated if `stores_negated_E`
  void moved() { transpose_E(); }
  bool stores_negated_E() const { return relu_on_pairs_; }

  const Optimizer& optimizer() const { return optimizer_; }
  const NormControl& control() const { return control_; }
  Index d_in() const { return X_.d_in; }
  Index d_out() const { return d_out_; }
  Index h() const { return h_; }

 private:
  static constexpr int L = lanes<T>;
  static constexpr Index chunk = register_bytes == 64 ? 192 : 256;  // samples; their H and gH fit the L1 cache
  static constexpr Index panel_strips = 64 / L;                     // strips of units in a task
  static_assert(chunk % L == 0);

  void load_state(const DescentState<T>& state) {
    theta_.load_from(state.theta, relu_on_pairs_), velocity_.load_from(state.velocity, relu_on_pairs_);
    compensation_.load_from(state.compensation, relu_on_pairs_), squares_.load_from(state.squares, false);
    transpose_E();
  }
  void store_state(const DescentState<T>& state) {
    theta_.store_to(state.theta, relu_on_pairs_), velocity_.store_to(state.velocity, relu_on_pairs_);
    compensation_.store_to(state.compensation, relu_on_pairs_), squares_.store_to(state.squares, false);
  }
  void transpose_E() {
    for (Index u = 0; registers_per_row_ > 0 && u < strip_count<T>(h_); ++u)
      transpose_strip(u, [E = theta_.E(u)](Index j) { return load(E + j * L); });
  }

  /// Computes the gradients, after `forward`, and takes step number t ≥ 1 of the optimizer at a rate.
  void update(double rate, Index t) {
    const Step<T> step_E(optimizer_, rate, optimizer_.weight_decay_E, t);
    const Step<T> step_W(optimizer_, optimizer_.rate_W(rate), optimizer_.weight_decay_W, t);
    const Index panels = (strip_count<T>(h_) + panel_strips - 1) / panel_strips;
    run_tasks(panels,
              [&](Index panel, T* scratch) { compute_gradients(panel, step_E, step_W, scratch + outputs_scratch()); });
    for (auto* layers : {&theta_, &velocity_, &compensation_, &squares_}) layers->clear_padding();
  }

  /// Computes the outputs of the samples and from them G and, if wanted, the losses and the numbers of a record.
  void forward(DescentSamples<T>& samples, bool wants_loss, bool wants_record) {
    if (!relu_on_pairs_) run_tasks(strip_count<T>(h_), [&](Index u, T*) { activate_strip(samples, u); });
    run_tasks((samples.strips + task_strips - 1) / task_strips, [&](Index block, T* scratch) {
      const Index begin = block * task_strips, end = std::min(samples.strips, begin + task_strips);
      compute_outputs(samples, begin, end, scratch);
      if (!samples.is_cross_entropy && !wants_loss && !wants_record) return;
      for (Index s = begin; s < end; ++s) samples.finish(s, wants_loss || wants_record, wants_record);
    });
  }

  /// Makes the record of θ. The outputs on the training samples have been computed.
  Record describe() {
    if (test_.n > 0) forward(test_, true, true);
    return make_record(train_.evaluation(), test_.evaluation(), theta_.norm_E(), theta_.norm_W());
  }

  Index units() const { return strip_count<T>(h_) * L; }
  Index outputs_scratch() const {
    return units_along_lanes ? OutputsAlongUnits<T>::scratch_size(d_out_) : block_units * tile_strips * L;
  }
  Index gradients_scratch() const { return panel_strips * (X_.d_in + d_out_) * L + 2 * chunk * L; }

  /// Runs the tasks. Each worker has its own scratch. The results do not depend on which worker takes a task.
  template <class F>
  void run_tasks(Index tasks, F&& task) {
    const Index workers = std::min<Index>(team_.size(), tasks);
    team_.run(workers, [&](Index worker) {
      for (Index t = worker; t < tasks; t += workers) task(t, scratch_.data() + worker * scratch_size_);
    });
  }

  /// Computes H = σ(X E) and S = σ'(X E) of one strip of units. They are stored for both phases, except for ReLU on
  /// pair inputs, which is cheap to recompute. Rows beyond n stay zero.
  void activate_strip(DescentSamples<T>& samples, Index u) {
    T* const H = samples.H_of(u);
    samples.X.multiply(theta_.E(u), H);
    activate(activation_, H, H, samples.S_of(u), static_cast<std::size_t>(samples.n * L));
  }

  /// Computes G = 2c (H W − Y), or F/T for the cross-entropy, for the strips [begin, end) of samples.
  void compute_outputs(DescentSamples<T>& samples, Index begin, Index end, T* scratch) {
    const ForwardProduct<T> forward_product{
        samples, theta_, forward_tiles_, h_, relu_on_pairs_, registers_per_row_, E_transposed_.data(), zeros_.data()};
    if constexpr (units_along_lanes) {
      OutputsAlongUnits<T>(forward_product, begin, end, scratch).compute();
    } else if (end - begin == tile_strips) {
      OutputsAlongSamples<T, tile_strips>(forward_product, begin, scratch).compute();
    } else {
      for (Index s = begin; s < end; ++s) OutputsAlongSamples<T, 1>(forward_product, s, scratch).compute();
    }
  }

  /// Computes gW, gE and the update of one panel of hidden units.
  void compute_gradients(Index panel, const Step<T>& step_E, const Step<T>& step_W, T* scratch) {
    const Index begin = panel * panel_strips;
    const Index end = std::min(begin + panel_strips, strip_count<T>(h_));
    T* gE = scratch + 2 * chunk * L;  // zero before and after this function
    T* gW = gE + panel_strips * X_.d_in * L;
    const auto gE_of = [&](Index u) { return gE + (u - begin) * X_.d_in * L; };
    const Step<T>* plain = optimizer_.is_plain() ? &step_W : nullptr;
    const Index n = batch_->n;
    if (relu_on_pairs_ && backward_tiles_.size() == 1 && n <= chunk && plain) {
      with_number<backward_outputs>(d_out_,
                                    [&](auto K) { compute_small_gradients<K>(begin, end, step_E, *plain, gE_of); });
      return;
    }
    for (Index first = 0; first < n; first += chunk) {
      const Index count = std::min(chunk, n - first);
      for (Index u = begin; u < end; ++u)
        add_gradients_of_chunk(u, first, count, plain, gE_of(u), gW + (u - begin) * d_out_ * L, scratch);
    }
    for (Index u = begin; u < end; ++u) {
      update_E(u, step_E, gE_of(u));
      if (!plain && optimizer_.trains_W)
        take_step(step_W, d_out_ * L, theta_.W(u), gW + (u - begin) * d_out_ * L,
                  {velocity_.W(u), compensation_.W(u), squares_.W(u)});
    }
  }

  /// The same for one chunk, one tile of d_out outputs and plain steps. In such small problems function calls cost
  /// time. The update of E comes one strip late, so it does not have to wait for multiply-adds of its own strip.
  template <int d_out, class GradientOf>
  void compute_small_gradients(Index begin, Index end, const Step<T>& step_E, const Step<T>& step_W,
                               const GradientOf& gE_of) {
    DescentSamples<T>& batch = *batch_;
    for (Index u = begin; u < end; ++u) {
      const BackwardReluPairs<T, true, true> backward{theta_.E(u), gE_of(u), batch.X.pairs(), nullptr, nullptr};
      gradients_tile<d_out>(
          backward, GradientsTile<T>{batch.n, 0, batch.G.data(), d_out, theta_.W(u), nullptr, true, true, &step_W});
      if (u > begin) plain_update_E(u - 1, step_E, gE_of(u - 1));
    }
    plain_update_E(end - 1, step_E, gE_of(end - 1));
  }

  /// gW (strip u) += Hᵀ G and gE (strip u) += Xᵀ gZ over the samples [first, first + count). After the last samples, W
  /// takes its step if it is a plain one.
  void add_gradients_of_chunk(Index u, Index first, Index count, const Step<T>* plain, T* gE, T* gW, T* scratch) {
    DescentSamples<T>& batch = *batch_;
    const StripInputs<T>& X = batch.X;
    const T* E = theta_.E(u);
    T *H = scratch, *gH = H + chunk * L;
    const auto tile = [&](const auto& backward, Index k, Index width) {
      const GradientsTile<T> t{count,
                               std::clamp<Index>(X.grouped_count() - first, 0, count),
                               batch.G.data() + first * d_out_ + k * L,
                               d_out_,
                               theta_.W(u) + k * L,
                               gW + k * L,
                               first == 0,
                               first + count == batch.n,
                               plain};
      with_number<backward_outputs>(width, [&](auto K) { gradients_tile<K>(backward, t); });
    };
    const Pair* pairs = X.pairs() + first;
    const Index offset = relu_on_pairs_ ? 0 : first * L;
    const T *stored_H = batch.H_of(u) + offset, *S = batch.S_of(u) + offset;
    if (X.are_pairs()) {
      for (const auto [k, width] : backward_tiles_) {
        with_ends(k == 0, k + width == d_out_, [&](auto is_first, auto is_last) {
          if (relu_on_pairs_)
            tile(BackwardReluPairs<T, is_first, is_last>{E, gE, pairs, H, gH}, k, width);
          else
            tile(BackwardLoadedPairs<T, is_first, is_last>{stored_H, S, gE, pairs, gH}, k, width);
        });
      }
      return;
    }
    std::fill(gH, gH + count * L, T{});
    for (const auto [k, width] : backward_tiles_) tile(BackwardLoaded<T>{stored_H, gH}, k, width);
    for (Index i = 0; i < count; ++i) store(gH + i * L, load(gH + i * L) * load(S + i * L));
    X.scatter(gH, first, first + count, gE);
  }

  /// Takes the step of one strip of E, sets its gE to zero and updates the strip's rows of Eᵀ.
  void update_E(Index u, const Step<T>& step, T* gE) {
    if (optimizer_.is_plain()) return plain_update_E(u, step, gE);
    if (optimizer_.trains_E)
      take_step(step, X_.d_in * L, theta_.E(u), gE, {velocity_.E(u), compensation_.E(u), squares_.E(u)});
    std::fill_n(gE, X_.d_in * L, T{});
    if (registers_per_row_ > 0) transpose_strip(u, [E = theta_.E(u)](Index j) { return load(E + j * L); });
  }
  /// The same for a plain step. Inlined by force: calls inside the strip loop cost the smallest problems 4 %.
  [[gnu::always_inline]] void plain_update_E(Index u, const Step<T> step, T* gE) {
    const auto update_row = [=, E = theta_.E(u)](Index j) {
      const Vector<T> e = step(load(E + j * L), load(gE + j * L));
      store(E + j * L, e);
      store(gE + j * L, Vector<T>{});
      return e;
    };
    if (registers_per_row_ > 0) return transpose_strip(u, update_row);
    for (Index j = 0; j < X_.d_in; ++j) update_row(j);
  }

  /// Writes the rows of Eᵀ for the units of strip u, one square block for each register of a row. update_row(j) returns
  /// row j of the strip of E.
  template <class Row>
  [[gnu::always_inline]] void transpose_strip(Index u, const Row update_row) {
    T* Et = E_transposed_.data() + u * registers_per_row_ * L * L;
    const Index d_in = X_.d_in;
    for (Index first = 0; first < d_in; first += L, Et += L * L) {
      Vector<T> v[L];
#pragma GCC unroll 16
      for (int r = 0; r < L; ++r) v[r] = first + r < d_in ? update_row(first + r) : Vector<T>{};
      transpose<T>(v);
#pragma GCC unroll 16
      for (int r = 0; r < L; ++r) store(Et + r * L, v[r]);
    }
  }

  DescentSamples<T> train_, test_;
  std::optional<Sampler<T>> sampler_;   // if steps use minibatches or label noise
  DescentSamples<T>* batch_ = &train_;  // the samples whose gradients a step takes
  const StripInputs<T>& X_;             // the inputs of the training samples
  const Index h_, d_out_;
  const Optimizer optimizer_;
  const NormControl control_;
  const Team team_;
  const Activation activation_;
  const bool relu_on_pairs_;       // the activation is ReLU and all inputs are pairs
  const Index registers_per_row_;  // registers in a row of Eᵀ, 0 if H is transposed instead
  const std::vector<OutputRange> forward_tiles_, backward_tiles_;
  LayerStrips<T> theta_, velocity_, compensation_, squares_;  // E is negated if relu_on_pairs_, except in the squares
  Buffer<T> E_transposed_;
  Buffer<T> zeros_;  // the initial outputs for the cross-entropy
  const Index scratch_size_;
  Buffer<T> scratch_;
};

}  // namespace zeroloss
