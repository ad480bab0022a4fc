// Minibatches and label noise of a descent: the samples of each step. Minibatches are consecutive parts of a random
// order of the samples, a new one for each epoch; the last part may be smaller. Label noise adds fresh normal numbers
// to the targets of each step. Both depend only on seeds and on the number of the step (math/philox.hpp). Python entry:
// python/zeroloss/dynamics/descent.py. Test: tests/test_minibatches_and_label_noise.py.
#pragma once

#include <vector>

#include "../math/blocks.hpp"
#include "../math/philox.hpp"
#include "descent_samples.hpp"

namespace zeroloss {

struct Sampling {
  Index batch_size = 0;  // 0: every step uses all samples
  std::uint64_t batch_seed = 0;
  double noise_std = 0;  // the standard deviation of the label noise
  std::uint64_t noise_seed = 0;

  bool is_used() const { return batch_size > 0 || noise_std > 0; }
};

/// The second words of the keys, so that equal seeds give different numbers.
inline constexpr std::uint64_t batch_stream = 0, noise_stream = 1;

/// The order of n samples in an epoch: the shuffle of Fisher and Yates, for i = n − 1 … 1, with the words of the stream
/// of step `epoch`. The word w exchanges i with ⌊w (i + 1) 2⁻⁶⁴⌋.
inline std::vector<Index> epoch_order(std::uint64_t seed, std::uint64_t epoch, Index n) {
  __extension__ using Wide = unsigned __int128;
  std::vector<Index> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), Index{0});
  std::array<std::uint64_t, 4> words{};
  for (Index i = n - 1, word = 0; i > 0; --i, ++word) {
    if (word % 4 == 0) words = philox({seed, batch_stream}, static_cast<std::uint64_t>(word / 4 + 1), epoch);
    const auto other = static_cast<Index>(Wide{words[static_cast<std::size_t>(word % 4)]} * Wide(i + 1) >> 64);
    std::swap(order[static_cast<std::size_t>(i)], order[static_cast<std::size_t>(other)]);
  }
  return order;
}

/// The number of groups of normal numbers that have at least `count` of them.
constexpr Index group_count(Index count) { return (count + normals_per_group - 1) / normals_per_group; }

/// Writes `groups` groups of the normal numbers of step t, from group `first` ≥ 0 on.
inline void write_label_noise(std::uint64_t seed, Index t, Index first, Index groups, float* output) {
  write_normals({seed, noise_stream}, static_cast<std::uint64_t>(t),
                static_cast<std::uint64_t>(first * blocks_per_group + 1), groups, output);
}

/// Copies the samples of each step from all samples.
template <class T>
class Sampler {
 public:
  Sampler(const Sampling& sampling, const DescentSamples<T>& all, const Loss& loss)
      : sampling_(sampling), all_(all), size_(sampling.batch_size > 0 ? sampling.batch_size : all.n) {
    batches_.reserve(2);
    batches_.emplace_back(all, size_, loss);
    if (all.n % size_ > 0) batches_.emplace_back(all, all.n % size_, loss);
    if (sampling.noise_std > 0) noise_ = Buffer<float>(group_count(size_ * all.d_out) * normals_per_group);
    selected_.resize(static_cast<std::size_t>(all.n));
  }

  /// Calls f for each of the sets of samples that `draw` may return.
  template <class F>
  void for_each(F&& f) {
    for (auto& batch : batches_) f(batch);
  }

  /// Returns the samples of step t, counted from 0.
  DescentSamples<T>& draw(Index t, const Team& team) {
    const Index per_epoch = (all_.n + size_ - 1) / size_, place = t % per_epoch;
    const Index first = place * size_, count = std::min(size_, all_.n - first);
    DescentSamples<T>& batch = count == size_ ? batches_.front() : batches_.back();
    if (per_epoch > 1) select(t / per_epoch, first, count);
    if (per_epoch > 1 || positions_.empty()) find_positions();
    if (per_epoch > 1 || !is_copied_) batch.copy_inputs(all_, positions_);
    is_copied_ = true;
    draw_noise(t, count * all_.d_out, team);
    for_blocks(team, count, [&](Index begin, Index length) {
      for (Index i = begin; i < begin + length; ++i) copy_targets(batch, i);
    });
    return batch;
  }

 private:
  static constexpr int L = lanes<T>;

  /// Marks the samples of a batch, in the caller's order.
  void select(Index epoch, Index first, Index count) {
    if (epoch != epoch_) order_ = epoch_order(sampling_.batch_seed, static_cast<std::uint64_t>(epoch), all_.n);
    epoch_ = epoch;
    std::fill(selected_.begin(), selected_.end(), Index{0});
    for (Index i = first; i < first + count; ++i) selected_[static_cast<std::size_t>(order_[i])] = 1;
  }

  /// Lists the samples of the batch by their positions in `all_`, in increasing order, which is a fast one. Ranks are
  /// their positions in the caller's order.
  void find_positions() {
    const bool whole = size_ == all_.n;
    Index rank = 0;
    for (Index& sample : selected_) sample = sample == 1 || whole ? rank++ : -1;
    positions_.clear();
    ranks_.clear();
    for (Index position = 0; position < all_.n; ++position) {
      const Index sample_rank = selected_[static_cast<std::size_t>(all_.X.caller_row(position))];
      if (sample_rank < 0) continue;
      positions_.push_back(position);
      ranks_.push_back(sample_rank);
    }
  }

  void draw_noise(Index t, Index count, const Team& team) {
    if (noise_.empty()) return;
    constexpr Index groups_in_task = 32;
    for_blocks(team, group_count(count), groups_in_task, [&](Index begin, Index length) {
      write_label_noise(sampling_.noise_seed, t, begin, length, noise_.data() + begin * normals_per_group);
    });
  }

  void copy_targets(DescentSamples<T>& batch, Index i) const {
    const Index d_out = all_.d_out;
    const auto place = static_cast<std::size_t>(i);
    const T* from = all_.minus_Y.data() + strip_offset<T>(d_out, 0, positions_[place]);
    T* to = batch.minus_Y.data() + strip_offset<T>(d_out, 0, i);
    if (noise_.empty()) {
      for (Index k = 0; k < d_out; ++k) to[k * L] = from[k * L];
      return;
    }
    const T std = static_cast<T>(sampling_.noise_std);
    const float* noise = noise_.data() + ranks_[place] * d_out;
    for (Index k = 0; k < d_out; ++k) to[k * L] = from[k * L] - std * static_cast<T>(noise[k]);
  }

  const Sampling sampling_;
  const DescentSamples<T>& all_;
  const Index size_;
  std::vector<DescentSamples<T>> batches_;  // of size_ samples, and of the rest of an epoch
  std::vector<Index> order_;                // of epoch_
  Index epoch_ = -1;
  std::vector<Index> selected_;           // by the caller's row
  std::vector<Index> positions_, ranks_;  // of the samples of the batch
  bool is_copied_ = false;
  Buffer<float> noise_;  // by rank: d_out numbers for each sample
};

}  // namespace zeroloss
