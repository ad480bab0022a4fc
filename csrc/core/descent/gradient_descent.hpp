// Full-batch gradient descent and AdamW for F = H W, H = σ(Z), Z = X E (Sec. 2.1). One step computes
//   G = ∂loss/∂F,  gW = Hᵀ G,  gZ = (G Wᵀ) ⊙ σ'(Z),  gE = Xᵀ gZ
// and updates θ = (E, W), without momentum by θ ← θ − lr (∇ + wd θ) (Eq. 13). G = 2c (F − Y) for the squared error.
// Hidden biases b are the last row of E, with a constant input. Biases of the outputs c start the sums of F, and their
// gradient is Σ_i G_i.
// Shapes: X n × d_in, E d_in × h, W h × d_out, Y, F and G n × d_out, all stored in strips (linalg/strips.hpp).
// Python entry: python/zeroloss/dynamics/descent.py. Test: tests/test_gradient_descent.py.
//
// A step has two phases of independent tasks. "Outputs" computes F and G for blocks of samples. "Gradients" computes H
// again, gW, gE and the update for panels of hidden units. No task writes what another task writes, so the bits do not
// depend on the number of threads or on the order of tasks.
#pragma once

#include <numeric>

#include "../../linalg/flush_denormals.hpp"
#include "../../linalg/team.hpp"
#include "../network/activation.hpp"
#include "../network/record.hpp"
#include "descent_chunk.hpp"
#include "descent_samples.hpp"
#include "gathered_rows.hpp"
#include "norm_control.hpp"
#include "outputs_along_samples.hpp"
#include "outputs_along_units.hpp"
#include "sampling.hpp"
#include "small_gradients.hpp"

namespace zeroloss {

template <class T>
class Descent {
 public:
  /// Descends on the samples `train`. The samples `test` are only evaluated in records; there may be none.
  Descent(const Samples<T>& train, const Samples<T>& test, Activation activation, Loss loss, const Optimizer& optimizer,
          const NormControl& control, Index h, bool has_output_biases, Team team = Team(),
          const Sampling& sampling = {})
      : train_(train, loss),
        test_(test, loss),
        X_(train_.X),
        h_(h),
        d_out_(train_.d_out),
        biases_{train.has_constant, has_output_biases},
        optimizer_(optimizer),
        control_(control),
        team_(team),
        activation_(activation),
        relu_on_hot_rows_(activation.kind == ActivationKind::relu && X_.hot_count() > 0 && has_similar_tests()),
        recomputed_(is_cheap(activation) && X_.hot_count() == 2 && has_similar_tests()),
        gathered_rows_(X_, relu_on_hot_rows_ || recomputed_, relu_on_hot_rows_ || d_out_ <= forward_outputs,
                       strip_count<T>(h)),
        forward_tiles_(cut_outputs(d_out_, forward_outputs)),
        backward_tiles_(cut_outputs(d_out_, backward_outputs)),
        theta_(true, X_.d_in, h, d_out_, biases_),
        velocity_(optimizer.has_velocity(), X_.d_in, h, d_out_, biases_),
        compensation_(optimizer.compensated, X_.d_in, h, d_out_, biases_),
        squares_(optimizer.has_squares(), X_.d_in, h, d_out_, biases_),
        gradient_c_(theta_.size_c() * L),
        zeros_(train_.is_cross_entropy ? tile_strips * d_out_ * L : 0),
        scratch_size_(outputs_scratch() + gradients_scratch()),
        scratch_(scratch_size_ * team.size()) {
    const auto prepare = [&](DescentSamples<T>& samples) {
      if (gathered_rows_.registers_per_row > 0) samples.find_gathers(gathered_rows_.split);
      if (relu_on_hot_rows_ || recomputed_) return;
      samples.H = Buffer<T>(units() * samples.hidden_stride);
      if (activation_.kind != ActivationKind::relu) samples.S = Buffer<T>(units() * samples.hidden_stride);
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
        E_changed();
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
    theta_.load_from(theta, relu_on_hot_rows_);
    E_changed();
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
  void moved() { E_changed(); }
  bool stores_negated_E() const { return relu_on_hot_rows_; }

  const Optimizer& optimizer() const { return optimizer_; }
  const NormControl& control() const { return control_; }
  Index d_in() const { return X_.d_in; }
  Index d_out() const { return d_out_; }
  Index h() const { return h_; }
  Biases biases() const { return biases_; }

 private:
  static constexpr int L = lanes<T>;
  static constexpr Index chunk = register_bytes == 64 ? 192 : 256;  // samples; their H and gH fit the L1 cache
  static constexpr Index panel_strips = 64 / L;                     // strips of units in a task
  static constexpr Index chunk_arrays = 3;                          // H, gH and S of a chunk
  static_assert(chunk % L == 0);

  void load_state(const DescentState<T>& state) {
    theta_.load_from(state.theta, relu_on_hot_rows_), velocity_.load_from(state.velocity, relu_on_hot_rows_);
    compensation_.load_from(state.compensation, relu_on_hot_rows_), squares_.load_from(state.squares, false);
    E_changed();
  }
  void store_state(const DescentState<T>& state) {
    theta_.store_to(state.theta, relu_on_hot_rows_), velocity_.store_to(state.velocity, relu_on_hot_rows_);
    compensation_.store_to(state.compensation, relu_on_hot_rows_), squares_.store_to(state.squares, false);
  }
  /// Updates what depends on E.
  void E_changed() {
    for (Index u = 0; gathered_rows_.in_use && u < strip_count<T>(h_); ++u) gathered_rows_.update(u, theta_.E(u));
  }

  /// Computes the gradients, after `forward`, and takes step number t ≥ 1 of the optimizer at a rate.
  void update(double rate, Index t) {
    const Steps<T> steps(optimizer_, rate, t);
    const Index panels = (strip_count<T>(h_) + panel_strips - 1) / panel_strips;
    run_tasks(panels, [&](Index panel, T* scratch) { compute_gradients(panel, steps, scratch + outputs_scratch()); });
    if (biases_.outputs) update_c(steps.c);
    for (auto* layers : {&theta_, &velocity_, &compensation_, &squares_}) layers->clear_padding();
  }

  /// Computes the outputs of the samples and from them G and, if wanted, the losses and the numbers of a record.
  void forward(DescentSamples<T>& samples, bool wants_loss, bool wants_record) {
    if (!relu_on_hot_rows_ && !recomputed_)
      run_tasks(strip_count<T>(h_), [&](Index u, T*) { samples.activate_strip(activation_, theta_.E(u), u); });
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
    const double biases = theta_.squares_of_hidden_biases() + theta_.squares_of_output_biases();
    return make_record(train_.evaluation(), test_.evaluation(), theta_.norm_E(), theta_.norm_W(), std::sqrt(biases));
  }

  /// Whether the test samples, if there are any, have inputs of the same kind.
  bool has_similar_tests() const {
    return test_.n == 0 || (test_.X.hot_count() == X_.hot_count() && test_.X.has_constant() == X_.has_constant());
  }
  Index units() const { return strip_count<T>(h_) * L; }
  Index outputs_scratch() const {
    return std::max(OutputsAlongUnits<T>::scratch_size(d_out_), block_units * tile_strips * L);
  }
  Index gradients_scratch() const { return panel_strips * (X_.d_in + d_out_) * L + chunk_arrays * chunk * L; }

  /// Runs the tasks. Each worker has its own scratch. The results do not depend on which worker takes a task.
  template <class F>
  void run_tasks(Index tasks, F&& task) {
    const Index workers = std::min<Index>(team_.size(), tasks);
    team_.run(workers, [&](Index worker) {
      for (Index t = worker; t < tasks; t += workers) task(t, scratch_.data() + worker * scratch_size_);
    });
  }

  /// Computes G = 2c (H W − Y), or F/T for the cross-entropy, for the strips [begin, end) of samples.
  void compute_outputs(DescentSamples<T>& samples, Index begin, Index end, T* scratch) {
    const ForwardProduct<T> forward_product{samples,
                                            theta_,
                                            forward_tiles_,
                                            h_,
                                            relu_on_hot_rows_,
                                            recomputed_ ? &activation_ : nullptr,
                                            gathered_rows_.of(0, theta_.E(0)),
                                            biases_.outputs,
                                            gathered_rows_.registers_per_row,
                                            gathered_rows_.transposed(),
                                            zeros_.data()};
    for (Index s = begin; biases_.outputs && s < end; ++s) samples.start_outputs(s, theta_.c());
    if constexpr (!relu_along_units) {
      const OutputsAlongSamples<T, tile_strips> along_samples(forward_product, begin, scratch);
      const bool is_whole = end - begin == tile_strips;
      if (relu_on_hot_rows_ && is_whole) return along_samples.compute();
      if (relu_on_hot_rows_) return OutputsAlongSamples<T, 1>(forward_product, begin, scratch).compute();
      if (is_whole && along_samples.compute_cheap()) return;
    }
    OutputsAlongUnits<T>(forward_product, begin, end, scratch).compute();
  }

  /// Takes the step of the biases of the outputs, whose gradient is the sum of G over the samples.
  void update_c(const Step<T>& step) {
    if (!optimizer_.trains_W) return;
    T* const sums = gradient_c_.data();
    batch_->sum_gradients(sums);
    std::fill(sums + d_out_, sums + theta_.size_c(), T{});
    take_step(step, theta_.size_c(), theta_.c(), sums, {velocity_.c(), compensation_.c(), squares_.c()});
    std::fill(theta_.c() + d_out_, theta_.c() + theta_.size_c(), T{});
  }

  /// Computes gW, gE and the update of one panel of hidden units.
  void compute_gradients(Index panel, const Steps<T>& steps, T* scratch) {
    const Index begin = panel * panel_strips;
    const Index end = std::min(begin + panel_strips, strip_count<T>(h_));
    T* gE = scratch + chunk_arrays * chunk * L;  // zero before and after this function
    T* gW = gE + panel_strips * X_.d_in * L;
    const auto gE_of = [&](Index u) { return gE + (u - begin) * X_.d_in * L; };
    const Step<T>* plain = optimizer_.is_plain() ? &steps.W : nullptr;
    const Index n = batch_->n;
    if (X_.hot_count() == 2 && backward_tiles_.size() == 1 && n <= chunk && plain)
      return compute_small_gradients(begin, end, steps, gE_of);
    for (Index first = 0; first < n; first += chunk) {
      const Index count = std::min(chunk, n - first);
      for (Index u = begin; u < end; ++u)
        add_gradients_of_chunk(u, first, count, plain, gE_of(u), gW + (u - begin) * d_out_ * L, scratch);
    }
    for (Index u = begin; u < end; ++u) {
      update_E(u, steps, gE_of(u));
      if (!plain && optimizer_.trains_W)
        take_step(steps.W, d_out_ * L, theta_.W(u), gW + (u - begin) * d_out_ * L,
                  {velocity_.W(u), compensation_.W(u), squares_.W(u)});
    }
  }

  /// The same for pairs, one chunk, one tile of outputs and plain steps.
  template <class GradientOf>
  void compute_small_gradients(Index begin, Index end, const Steps<T>& steps, const GradientOf& gE_of) {
    const auto compute = [&](const auto& backward_of, const auto& update) {
      small_gradients(begin, end, *batch_, theta_, d_out_, steps.W, backward_of, update);
    };
    const auto update = [&](Index u) { update_E(u, steps, gE_of(u)); };
    const auto pairs = batch_->X.template hot_rows<2>();
    if (relu_on_hot_rows_) {
      const auto backward_of = [&](Index u) __attribute__((always_inline)) {
        return BackwardRelu<T, true, true, 2>{gathered_rows_.of(u, theta_.E(u)), gE_of(u), pairs, nullptr, nullptr};
      };
      if (has_last_row()) return compute(backward_of, update);
      return compute(backward_of,
                     [&](Index u) __attribute__((always_inline)) { plain_update_E(u, steps.E, gE_of(u)); });
    }
    if (recomputed_)
      return with_cheap_functor<T>(activation_, [&](auto sigma) {
        compute(
            [&](Index u) __attribute__((always_inline)) {
              return BackwardComputed<T, decltype(sigma)>{sigma, gathered_rows_.of(u, theta_.E(u)), gE_of(u), pairs};
            },
            update);
      });
    compute(
        [&](Index u) __attribute__((always_inline)) {
          return BackwardLoadedPairs<T, true>{batch_->H_of(u), batch_->S_of(u), gE_of(u), pairs, nullptr};
        },
        update);
  }

  /// gW (strip u) += Hᵀ G and gE (strip u) += Xᵀ gZ over the samples [first, first + count). After the last samples, W
  /// takes its step if it is a plain one.
  void add_gradients_of_chunk(Index u, Index first, Index count, const Step<T>* plain, T* gE, T* gW, T* scratch) {
    DescentSamples<T>& batch = *batch_;
    const StripInputs<T>& X = batch.X;
    const T* E = gathered_rows_.of(u, theta_.E(u));
    T *H = scratch, *gH = H + chunk * L, *chunk_S = gH + chunk * L;
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
      using Backward = std::remove_cvref_t<decltype(backward)>;
      constexpr int fewest = Backward::first && Backward::last ? 1 : fewest_of_several(backward_outputs);
      with_number<backward_outputs, fewest>(width, [&](auto K) { gradients_tile<K>(backward, t); });
    };
    const bool are_pairs = X.hot_count() == 2;
    const auto pairs = X.template hot_rows<2>().from(first);
    const auto rows = X.template hot_rows<0>().from(first);
    const auto from_first = [=](const T* stored) { return stored ? stored + first * L : nullptr; };
    const T *stored_H = from_first(batch.H_of(u)), *S = from_first(batch.S_of(u));
    if (recomputed_) {
      const auto Z = [=](std::size_t i) { return pairs.add_rows(E, static_cast<Index>(i)); };
      activate_registers(activation_, Z, H, chunk_S, static_cast<std::size_t>(count));
      stored_H = H, S = chunk_S;
    }
    for (const auto [k, width] : backward_tiles_)
      with_ends(k == 0, k + width == d_out_, [&](auto is_first, auto is_last) {
        constexpr int two = is_first || is_last ? 2 : 0;  // A tile between them reads no inputs, so all share one.
        if (relu_on_hot_rows_ && are_pairs)
          tile(BackwardRelu<T, is_first, is_last, two>{E, gE, X.template hot_rows<two>().from(first), H, gH}, k, width);
        else if (relu_on_hot_rows_)
          tile(BackwardRelu<T, is_first, is_last, 0>{E, gE, rows, H, gH}, k, width);
        else if (are_pairs && is_last)
          tile(BackwardLoadedPairs<T, is_first>{stored_H, S, gE, pairs, gH}, k, width);
        else
          tile(BackwardLoaded<T, is_first, is_last>{stored_H, S, gH}, k, width);
      });
    if (!relu_on_hot_rows_ && !are_pairs) X.scatter(gH, first, first + count, gE);
  }

  /// Whether the last row of E has a step or a gradient of its own.
  bool has_last_row() const { return biases_.hidden || X_.has_constant(); }

  /// Takes the step of one strip of E, sets its gE to zero and updates what depends on the strip.
  [[gnu::noinline]] void update_E(Index u, const Steps<T>& steps, T* gE) {
    if (optimizer_.is_plain() && !has_last_row()) return plain_update_E(u, steps.E, gE);
    const Index last = X_.d_in - 1;
    if (X_.hot_count() > 0 && X_.has_constant()) {
      Vector<T> sum{};
      for (Index j = 0; j < last; ++j) sum += load(gE + j * L);
      store(gE + last * L, broadcast(T(1) / static_cast<T>(X_.hot_count())) * sum);
    }
    const auto step_rows = [&](const Step<T>& step, Index first, Index count) {
      const auto rows = [first](T* strip) { return strip ? strip + first * L : nullptr; };
      take_step(step, count * L, rows(theta_.E(u)), gE + first * L,
                {rows(velocity_.E(u)), rows(compensation_.E(u)), rows(squares_.E(u))});
    };
    if (optimizer_.trains_E) {
      step_rows(steps.E, 0, X_.d_in - biases_.hidden);
      if (biases_.hidden) step_rows(steps.b, last, 1);
    }
    std::fill_n(gE, X_.d_in * L, T{});
    gathered_rows_.update(u, theta_.E(u));
  }
  /// The same for a plain step. Inlined by force: calls inside the strip loop cost the smallest problems 4 %.
  [[gnu::always_inline]] void plain_update_E(Index u, const Step<T> step, T* gE) {
    const auto update_row = [=, E = theta_.E(u)](Index j) {
      const Vector<T> e = step(load(E + j * L), load(gE + j * L));
      store(E + j * L, e);
      store(gE + j * L, Vector<T>{});
      return e;
    };
    if (gathered_rows_.registers_per_row > 0) return gathered_rows_.transpose(u, update_row);
    for (Index j = 0; j < X_.d_in; ++j) update_row(j);
  }

  DescentSamples<T> train_, test_;
  std::optional<Sampler<T>> sampler_;   // if steps use minibatches or label noise
  DescentSamples<T>* batch_ = &train_;  // the samples whose gradients a step takes
  const StripInputs<T>& X_;             // the inputs of the training samples
  const Index h_, d_out_;
  const Biases biases_;
  const Optimizer optimizer_;
  const NormControl control_;
  const Team team_;
  const Activation activation_;
  const bool relu_on_hot_rows_;    // the activation is ReLU and all inputs are k-hot, with the same k
  const bool recomputed_;          // H and S of a cheap activation on pairs are computed in each phase, not stored
  GatheredRows<T> gathered_rows_;  // in use if one of the two is true
  const std::vector<OutputRange> forward_tiles_, backward_tiles_;
  LayerStrips<T> theta_, velocity_, compensation_,
      squares_;           // E is negated if relu_on_hot_rows_, except in the squares
  Buffer<T> gradient_c_;  // [output][lanes], partial sums
  Buffer<T> zeros_;       // the initial outputs for the cross-entropy
  const Index scratch_size_;
  Buffer<T> scratch_;
};

}  // namespace zeroloss
