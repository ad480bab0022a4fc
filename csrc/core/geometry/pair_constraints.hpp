// The constraints of a hidden unit's pinned pairs if each sample is a sum of two inputs: v_a + v_b = 0 or v_a = 0 for a
// vector v (d_in). They are the edges of a graph of the inputs. In each component, v is a number times a vector of
// signs, or v = 0. So a projection takes two operations for each input, and no basis.
// Test: tests/test_kink_constraints.py.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "../network/inputs.hpp"

namespace zeroloss {

/// The inputs a and b of a sample. They are equal if there is one.
struct InputPair {
  std::size_t a, b;
};

/// Returns the inputs of all samples, or nothing if some sample is not a multiple of e_a + e_b or e_a.
inline std::vector<InputPair> find_input_pairs(const SparseInputs<double>& X) {
  std::vector<InputPair> pairs;
  for (std::size_t i = 0; i + 1 < X.starts.size(); ++i) {
    const auto first = static_cast<std::size_t>(X.starts[i]), end = static_cast<std::size_t>(X.starts[i + 1]);
    const std::size_t last = end - 1;
    if (end == first || end > first + 2 || X.values[first] == 0 || X.values[first] != X.values[last]) return {};
    pairs.push_back({static_cast<std::size_t>(X.columns[first]), static_cast<std::size_t>(X.columns[last])});
  }
  return pairs;
}

inline std::vector<InputPair> find_input_pairs(const DenseInputs<double>&) { return {}; }

class PairConstraints {
 public:
  /// An input: its component, and its part in the component's vector of signs.
  struct Member {
    std::int32_t component;
    float sign;
    double weight;  ///< sign / size of the component; 0 if v = 0 there
  };

  explicit PairConstraints(Index d_in) : nodes_(static_cast<std::size_t>(d_in)) {}

  /// Removes all constraints.
  void clear() {
    rank_ = 0;
    for (std::size_t d = 0; d < nodes_.size(); ++d) nodes_[d] = {d, 1, 1};
  }

  void add(InputPair pair) {
    const auto [first, first_sign] = find(pair.a);
    const auto [second, second_sign] = find(pair.b);
    Node &root = nodes_[first], &other = nodes_[second];
    if (first != second) {
      rank_ += root.size > 0 || other.size > 0 ? 1 : 0;
      root.size = root.size > 0 && other.size > 0 ? root.size + other.size : 0;
      other.parent = first;
      other.sign = -first_sign * second_sign;
    } else if (first_sign == second_sign && root.size > 0) {
      ++rank_;
      root.size = 0;
    }
  }

  Index rank() const { return rank_; }  ///< number of independent constraints

  /// Appends the d_in members to a list.
  void append_to(std::vector<Member>& members) const {
    for (std::size_t d = 0; d < nodes_.size(); ++d) {
      const auto [root, sign] = find(d);
      const double size = nodes_[root].size;
      members.push_back({static_cast<std::int32_t>(root), static_cast<float>(sign), size > 0 ? sign / size : 0});
    }
  }

  /// v ← P v with the projector P off the constraints. The entries of v are `step` apart; `sums` has room for d_in.
  static void project(const Member* members, Index d_in, double* v, Index step, double* sums) {
    std::fill_n(sums, d_in, 0.0);
    for (Index d = 0; d < d_in; ++d) sums[members[d].component] += members[d].weight * v[d * step];
    for (Index d = 0; d < d_in; ++d) v[d * step] = static_cast<double>(members[d].sign) * sums[members[d].component];
  }

 private:
  struct Node {
    std::size_t parent;  // itself at a root
    double sign;         // v of the node divided by v of its parent
    double size;         // at a root: of the component; 0 if v = 0 there
  };

  /// Returns the root of a node, and the node's sign relative to it.
  std::pair<std::size_t, double> find(std::size_t d) const {
    double sign = 1;
    for (; nodes_[d].parent != d; d = nodes_[d].parent) sign *= nodes_[d].sign;
    return {d, sign};
  }

  std::vector<Node> nodes_;
  Index rank_ = 0;
};

}  // namespace zeroloss
