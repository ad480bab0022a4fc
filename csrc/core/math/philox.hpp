// Counter-based random numbers: Philox4x64-10 of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1,
// 2, 3" (SC 2011), and normal numbers from its words. A number depends only on its key and counter, so it is the same
// for any number of threads and after an interruption. Test: tests/test_minibatches_and_label_noise.py.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#include "../../linalg/vector.hpp"

namespace zeroloss {

using PhiloxKey = std::array<std::uint64_t, 2>;

namespace detail {

/// Both halves of products of 64-bit words: of scalars or, with AVX-512, of lanes.
template <class W>
struct WideProduct {
  W high, low;
};

[[gnu::always_inline]] inline WideProduct<std::uint64_t> multiply_words(std::uint64_t a, std::uint64_t b) {
  __extension__ using Integer = unsigned __int128;
  const Integer product = Integer{a} * b;
  return {static_cast<std::uint64_t>(product >> 64), static_cast<std::uint64_t>(product)};
}

#if defined(__AVX512F__)
[[gnu::always_inline]] inline WideProduct<Vector<std::uint64_t>> multiply_words(Vector<std::uint64_t> a,
                                                                                std::uint64_t b) {
  using Words = Vector<std::uint64_t>;
  const auto multiply_low_halves = [](Words x, Words y) __attribute__((always_inline)) {
    return (Words)_mm512_maskz_mul_epu32(0xff, (__m512i)x,
                                         (__m512i)y);  // the form that GCC 12 compiles without warnings
  };
  const Words b_low = b - Words{}, b_high = (b >> 32) - Words{}, a_high = a >> 32;
  const Words low = multiply_low_halves(a, b_low), middle = multiply_low_halves(a_high, b_low) + (low >> 32);
  const Words rest = multiply_low_halves(a, b_high) + (middle & 0xffffffffu);
  return {multiply_low_halves(a_high, b_high) + (middle >> 32) + (rest >> 32), (rest << 32) | (low & 0xffffffffu)};
}
#endif

/// Replaces counters by their words, in ten rounds.
template <class W>
[[gnu::always_inline]] inline void apply_philox(PhiloxKey key, W (&c)[4]) {
#pragma GCC unroll 10
  for (int round = 0; round < 10; ++round) {
    const auto p = multiply_words(c[0], 0xD2E7470EE14C6C93), q = multiply_words(c[2], 0xCA5A826395121157);
    const W first = q.high ^ c[1] ^ key[0], third = p.high ^ c[3] ^ key[1];
    c[0] = first, c[1] = q.low, c[2] = third, c[3] = p.low;
    key[0] += 0x9E3779B97F4A7C15;
    key[1] += 0xBB67AE8584CAA73B;
  }
}

}  // namespace detail

/// The words of one block, block ≥ 1, of the stream of a key and a step. They are the words 4 (block − 1) … 4 block − 1
/// of numpy.random.Philox(key=key, counter=[0, step, 0, 0]).
inline std::array<std::uint64_t, 4> philox(PhiloxKey key, std::uint64_t block, std::uint64_t step) {
  std::uint64_t c[4] = {block, step, 0, 0};
  detail::apply_philox(key, c);
  return {c[0], c[1], c[2], c[3]};
}

/// Normal numbers come in groups: two for each word of eight blocks.
inline constexpr int blocks_per_group = 8, words_per_group = 4 * blocks_per_group,
                     normals_per_group = 2 * words_per_group;

namespace detail {

/// Writes the words of a group, 8 j + b for word j of block b.
[[gnu::always_inline]] inline void write_group(PhiloxKey key, std::uint64_t first_block, std::uint64_t step,
                                               std::uint64_t* words) {
#if defined(__AVX512F__)
  static_assert(lanes<std::uint64_t> == blocks_per_group);
  Vector<std::uint64_t> c[4] = {Vector<std::uint64_t>{0, 1, 2, 3, 4, 5, 6, 7} + first_block,
                                step - Vector<std::uint64_t>{}, Vector<std::uint64_t>{}, Vector<std::uint64_t>{}};
  apply_philox(key, c);
  for (int j = 0; j < 4; ++j) store(words + 8 * j, c[j]);
#else
  for (int b = 0; b < blocks_per_group; ++b) {
    const auto block = philox(key, first_block + static_cast<std::uint64_t>(b), step);
    for (int j = 0; j < 4; ++j) words[8 * j + b] = block[static_cast<std::size_t>(j)];
  }
#endif
}

}  // namespace detail

/// The words of a group, from block first_block ≥ 1 on: word 4 b + j of the stream from there on is number 8 j + b.
[[gnu::noinline]] inline std::array<std::uint64_t, words_per_group> philox_group(PhiloxKey key,
                                                                                 std::uint64_t first_block,
                                                                                 std::uint64_t step) {
  std::array<std::uint64_t, words_per_group> words;
  detail::write_group(key, first_block, step, words.data());
  return words;
}

namespace detail {

/// −2 log u with u = (x + ½) 2⁻³¹ for integers 0 ≤ x < 2³¹.
[[gnu::always_inline]] inline Vector<float> minus_twice_log(Vector<std::int32_t> x) {
  const Vector<float> u = (__builtin_convertvector(x, Vector<float>) + 0.5f) * 0x1p-31f;
  // u = 2ᵉ (1 + y) with √½ ≤ 1 + y < √2. If e = 0, y = u − 1 is computed from the integer, without cancellation.
  const Vector<std::int32_t> bits = (Vector<std::int32_t>)u - 0x3f3504f3;
  const Vector<float> e = __builtin_convertvector(bits >> 23, Vector<float>);
  const Vector<float> below_one = (__builtin_convertvector(0x7fffffff - x, Vector<float>) + 0.5f) * -0x1p-31f;
  const Vector<float> reduced = (Vector<float>)((bits & 0x7fffff) + 0x3f3504f3) - 1.0f;
  const Vector<float> y = bits >= 0 ? below_one : reduced, z = y * y;
  // log(1 + y) = y − y²/2 + y³ P(y), with the coefficients of Cephes.
  Vector<float> P = 7.0376836292e-2f * y - 1.1514610310e-1f;
  for (const float coefficient : {1.1676998740e-1f, -1.2420140846e-1f, 1.4249322787e-1f, -1.6668057665e-1f,
                                  2.0000714765e-1f, -2.4999993993e-1f, 3.3333331174e-1f})
    P = P * y + coefficient;
  return -2.0f * (y - 0.5f * z + y * z * P + e * 0.69314718056f);
}

/// cos(2π a 2⁻³²) and sin(2π a 2⁻³²) for integers 0 ≤ a < 2³².
struct CosineAndSine {
  Vector<float> cosine, sine;
};
[[gnu::always_inline]] inline CosineAndSine cos_and_sin(Vector<std::uint32_t> a) {
  const Vector<std::uint32_t> quadrant = (a + (1u << 29)) >> 30;
  const auto rest = (Vector<std::int32_t>)(a - (quadrant << 30));  // in [−2²⁹, 2²⁹), an eighth of a turn
  const Vector<float> x = __builtin_convertvector(rest, Vector<float>) * 0x1.921fb6p-30f, z = x * x;
  // The polynomials of Cephes.
  const Vector<float> sine = x + x * z * ((-1.9515295891e-4f * z + 8.3321608736e-3f) * z - 1.6666654611e-1f);
  const Vector<float> cosine =
      1.0f - 0.5f * z + z * z * ((2.443315711809948e-5f * z - 1.388731625493765e-3f) * z + 4.166664568298827e-2f);
  // For the quadrant q = 0 … 3, (cos, sin)(x + q π/2) is (c, s), (−s, c), (−c, −s), (s, −c).
  const auto is_odd = (Vector<std::int32_t>)(quadrant & 1u) != 0;
  const Vector<std::uint32_t> sign_of_cosine = ((quadrant + 1u) & 2u) << 30, sign_of_sine = (quadrant & 2u) << 30;
  return {(Vector<float>)((Vector<std::uint32_t>)(is_odd ? sine : cosine) ^ sign_of_cosine),
          (Vector<float>)((Vector<std::uint32_t>)(is_odd ? cosine : sine) ^ sign_of_sine)};
}

}  // namespace detail

/// Writes the normal numbers of `groups` groups of blocks, from block `first_block` ≥ 1 on, in float32. Word w at place
/// i of a group gives the numbers i and 32 + i by the method of Box and Muller: r cos(2π a) and r sin(2π a), with r =
/// √(−2 log u), u = (⌊(w mod 2³²)/2⌋ + ½) 2⁻³¹ and a = ⌊w/2³²⌋ 2⁻³². It is one piece of machine code: the bits do not
/// depend on the caller.
[[gnu::noipa, gnu::noinline]] inline void write_normals(PhiloxKey key, std::uint64_t step, std::uint64_t first_block,
                                                        std::ptrdiff_t groups, float* output) {
  constexpr int L = lanes<float>, words = words_per_group;
  for (std::ptrdiff_t g = 0; g < groups; ++g, first_block += blocks_per_group, output += normals_per_group) {
    alignas(64) std::uint64_t group[words];
    alignas(64) std::uint32_t radii[words], angles[words];
    alignas(64) float lengths[words];
    detail::write_group(key, first_block, step, group);
    for (int i = 0; i < words; ++i) {
      radii[i] = static_cast<std::uint32_t>(group[i]) >> 1;
      angles[i] = static_cast<std::uint32_t>(group[i] >> 32);
    }
    for (int i = 0; i < words; i += L)
      store(lengths + i, detail::minus_twice_log((Vector<std::int32_t>)load(radii + i)));
    for (int i = 0; i < words; ++i) lengths[i] = std::sqrt(lengths[i]);
    for (int i = 0; i < words; i += L) {
      const auto direction = detail::cos_and_sin(load(angles + i));
      store(output + i, direction.cosine * load(lengths + i));
      store(output + words + i, direction.sine * load(lengths + i));
    }
  }
}

}  // namespace zeroloss
