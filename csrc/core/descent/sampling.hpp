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
  for (Index i = n - 1, group = 0; i > 0; ++group) {
    const auto words =
        philox_group({seed, batch_stream}, static_cast<std::uint64_t>(group * blocks_per_group + 1), epoch);
    const Index count = std::min<Index>(i, words_per_group);
    std::array<Index, words_per_group> others;
    for (Index w = 0; w < count; ++w)
      others[w] = static_cast<Index>(Wide{words[w % 4 * blocks_per_group + w / 4]} * Wide(i - w + 1) >> 64);
    for (Index w = 0; w < count; ++w, --i) std::swap(order[i], order[others[w]]);
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
    if (sampling.noise_std > 0) noise_ = Buffer<float>(group_count(size_ * all.d_out) * normals_per_group + L);
    minus_Y_ = Buffer<T>(all.n * all.d_out + L);
    columns_from_strips(all.minus_Y.data(), all.n, all.d_out, minus_Y_.data());
    for (auto* numbers : {&positions_, &ranks_, &counts_, &first_of_row_, &rank_of_row_})
      numbers->resize(static_cast<std::size_t>(all.n));
  }

  /// Calls f for each of the sets of samples that `draw` may return.
  template <class F>
  void for_each(F&& f) {
    for (auto& batch : batches_) f(batch);
  }

  /// Returns the samples of step t, counted from 0.
  DescentSamples<T>& draw(Index t, const Team& team) {
    const Index per_epoch = (all_.n + size_ - 1) / size_, first = t % per_epoch * size_;
    const Index count = std::min(size_, all_.n - first);
    DescentSamples<T>& batch = count == size_ ? batches_.front() : batches_.back();
    const bool is_new = t / per_epoch != epoch_ && (per_epoch > 1 || epoch_ < 0);
    if (is_new) divide_epoch(t / per_epoch);
    if (is_new || per_epoch > 1) batch.copy_inputs(all_, positions_.data() + first);
    draw_noise(t, count * all_.d_out, team);
    for_blocks(team, batch.strips, [&](Index begin, Index length) {
      for (Index s = begin; s < begin + length; ++s) copy_targets(batch, s, first);
    });
    return batch;
  }

 private:
  static constexpr int L = lanes<T>;

  /// Lists the samples of each batch of an epoch by their positions in `all_`, in increasing order, which is a fast
  /// one. Ranks are their positions in the caller's order. The loops do not branch on random numbers.
  void divide_epoch(Index epoch) {
    epoch_ = epoch;
    std::fill(first_of_row_.begin(), first_of_row_.end(), Index{0});
    if (size_ < all_.n) {
      const auto order = epoch_order(sampling_.batch_seed, static_cast<std::uint64_t>(epoch), all_.n);
      for (Index first = 0; first < all_.n; first += size_)
        for (Index i = first; i < std::min(first + size_, all_.n); ++i) first_of_row_[order[i]] = first;
    }
    std::fill(counts_.begin(), counts_.end(), Index{0});
    for (std::size_t row = 0; row < rank_of_row_.size(); ++row) rank_of_row_[row] = counts_[first_of_row_[row]]++;
    std::fill(counts_.begin(), counts_.end(), Index{0});
    for (Index position = 0; position < all_.n; ++position) {
      const auto row = static_cast<std::size_t>(all_.X.caller_row(position));
      const Index first = first_of_row_[row], place = first + counts_[first]++;
      positions_[place] = position;
      ranks_[place] = rank_of_row_[row];
    }
  }

  void draw_noise(Index t, Index count, const Team& team) {
    if (noise_.empty()) return;
    constexpr Index groups_in_task = 32;
    for_blocks(team, group_count(count), groups_in_task, [&](Index begin, Index length) {
      write_label_noise(sampling_.noise_seed, t, begin, length, noise_.data() + begin * normals_per_group);
    });
  }

  /// Copies the targets of strip s of a batch, whose samples begin at place `first` of the lists. The last strip is
  /// padded with copies; no result depends on them.
  void copy_targets(DescentSamples<T>& batch, Index s, Index first) const {
    const Index d_out = all_.d_out;
    for (Index k = 0; k < d_out; k += L) {
      Vector<T> rows[L];
      for (int i = 0; i < L; ++i) {
        const Index place = first + std::min<Index>(s * L + i, batch.n - 1);
        rows[i] = load(minus_Y_.data() + positions_[place] * d_out + k);
        if (!noise_.empty())
          rows[i] -=
              broadcast(static_cast<T>(sampling_.noise_std)) * load_floats(noise_.data() + ranks_[place] * d_out + k);
      }
      transpose<T>(rows);
      T* const to = batch.minus_Y.data() + (s * d_out + k) * L;
      for (Index r = 0; r < std::min<Index>(L, d_out - k); ++r) store(to + r * L, rows[r]);
    }
  }
  static Vector<T> load_floats(const float* source) {
    typedef float Floats __attribute__((vector_size(L * sizeof(float))));
    Floats v;
    std::memcpy(&v, source, sizeof v);
    return __builtin_convertvector(v, Vector<T>);
  }

  const Sampling sampling_;
  const DescentSamples<T>& all_;
  const Index size_;
  std::vector<DescentSamples<T>> batches_;         // of size_ samples, and of the rest of an epoch
  Index epoch_ = -1;                               // of the lists
  std::vector<Index> positions_, ranks_;           // of the samples, batch by batch
  std::vector<Index> first_of_row_, rank_of_row_;  // by the caller's row: the first place of its batch, its rank
  std::vector<Index> counts_;                      // the samples of a batch that have been listed, at its first sample
  Buffer<T> minus_Y_;                              // n × d_out, padded: −Y by position in `all_`
  Buffer<float> noise_;                            // by rank: d_out numbers for each sample, padded
};

}  // namespace zeroloss
