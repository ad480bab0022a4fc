// Elementary functions of a register of numbers, in place of libm's: libm chooses its code by processor, these give
// the same bits on every machine of an instruction-set level. They do not branch on values, and a lane never depends on
// the others. Infinities, NaN, overflow and denormal results are right.
//
// Largest errors seen at any level, in units in the last place, over 8 million float64 values | all float32 values:
//   exp 1.0 | 1.1    log1p 1.5 | 1.6    tanh 3.2 | 3.0    its slope 5.7 | 6.0
//   normal density 2.3 | 2.3    normal tail 4.6 | 4.5
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "../linalg/vector.hpp"

namespace zeroloss {

/// A function of each lane with its derivative there.
template <class T>
struct ValueAndSlope {
  Vector<T> value, slope;
};

/// Polynomials are least-squares fits of the relative error at Chebyshev points, in 60 digits, each coefficient fitted
/// after the ones before it were rounded; the lowest power comes first.
template <class T>
struct Constants;

template <>
struct Constants<double> {
  static constexpr double ln2_high = 0x1.62e42fefa2p-1, ln2_low = 0x1.9ef35793c7673p-41;  // high · 1075 is exact
  static constexpr double exp_zero = -746, exp_infinite = 710;                            // arguments that give 0 and ∞
  static constexpr double tail_zero = 40;                                                 // exp(−tail_zero²/2) = 0
  static constexpr double exp[] = {0.50000000000000133,    0.16666666666666488,    0.041666666666511976,
                                   0.0083333333334472594,  0.0013888888947727362,  0.00019841269607174817,
                                   2.4801489318727205e-05, 2.7557497479187718e-06, 2.7631478356229086e-07,
                                   2.5028104798238917e-08};
  static constexpr double log[] = {0.66666666666667374, 0.39999999999398628, 0.28571428745551214, 0.22222198273544116,
                                   0.1818357906686337,  0.1531368752092411,  0.14799487338411288};
  static constexpr double tail[] = {
      0.75528513041575152,    -0.60789664197189208,    0.38713740074221603,     -0.1865218579596615,
      0.060396574890759155,   -0.0075401889665523952,  -0.0034796923627501354,  0.0016308184548436949,
      0.00013334425630736,    -0.00023109491520491838, -1.9078765661787116e-06, 3.5144621143688927e-05,
      7.1506557771625445e-07, -5.9201587555659257e-06, -6.2540150856229408e-07, 1.0221300240789252e-06,
      2.6439345704525723e-07, -1.5690819308000928e-07, -7.7443601972980576e-08, 1.6278142660212566e-08,
      1.476353051981401e-08,  -3.9914445506130465e-10, -1.2384224801219624e-09};
};

template <>
struct Constants<float> {
  static constexpr float ln2_high = 0x1.62e4p-1f, ln2_low = 0x1.7f7d1cp-20f;  // high · 151 is exact
  static constexpr float exp_zero = -105, exp_infinite = 89;
  static constexpr float tail_zero = 16;
  static constexpr float exp[] = {0.499999881f, 0.166665182f, 0.0416696556f, 0.00836896151f, 0.00137448183f};
  static constexpr float log[] = {0.666667759f, 0.399775743f, 0.298712373f};
  static constexpr float tail[] = {0.755285144f,    -0.607896626f,    0.387136877f,    -0.186522156f,
                                   0.0604021251f,   -0.00753729278f,  -0.00350376894f, 0.00161555444f,
                                   0.000179536073f, -0.000193686996f, -3.41169798e-05f};
};

// The representation of a number: sign, exponent + exponent_bias, mantissa.
template <class T>
using Word = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
template <class T>
inline constexpr int mantissa_bits = std::numeric_limits<T>::digits - 1;
template <class T>
inline constexpr Word<T> exponent_bias = std::numeric_limits<T>::max_exponent - 1;
template <class T>
inline constexpr Word<T> one_word = std::bit_cast<Word<T>>(T(1));
template <class T>
inline constexpr Word<T> sign_word = std::bit_cast<Word<T>>(-T(0));

template <class T>
[[gnu::always_inline]] inline Vector<Word<T>> to_word(Vector<T> x) {
  return reinterpret_cast<Vector<Word<T>>>(x);
}

template <class T>
[[gnu::always_inline]] inline Vector<T> from_word(Vector<Word<T>> word) {
  return reinterpret_cast<Vector<T>>(word);
}

template <class T>
[[gnu::always_inline]] inline Vector<T> magnitude(Vector<T> x) {
  return from_word<T>(to_word<T>(x) & ~sign_word<T>);
}

/// |x| with the sign of y.
template <class T>
[[gnu::always_inline]] inline Vector<T> with_sign(Vector<T> x, Vector<T> y) {
  return from_word<T>((to_word<T>(x) & ~sign_word<T>) | (to_word<T>(y) & sign_word<T>));
}

/// Σ_i coefficient_i xⁱ by Horner's rule.
template <class T, std::size_t first = 0, std::size_t size>
[[gnu::always_inline]] inline Vector<T> polynomial(Vector<T> x, const T (&coefficient)[size]) {
  if constexpr (first + 1 == size)
    return broadcast(coefficient[first]);
  else
    return coefficient[first] + x * polynomial<T, first + 1>(x, coefficient);
}

/// eˣ = 2ⁿ (1 + excess); 2ⁿ in two factors, for each alone is a normal number.
template <class T>
struct Exponential {
  Vector<T> factor, other_factor, excess;

  [[gnu::always_inline]] Vector<T> value() const { return (T(1) + excess) * factor * other_factor; }
};

/// e^(x + low), where low ≪ 1 holds what x was rounded by: n = ⌊x / ln 2⌉, excess = eʳ − 1, r = x − n ln 2 + low.
template <class T>
[[gnu::always_inline]] inline Exponential<T> exponential(Vector<T> x, Vector<T> low) {
  using C = Constants<T>;
  constexpr T log2_e = T(1.44269504088896340736);
  constexpr T shifter = T(3) * T(Word<T>(1) << (mantissa_bits<T> - 1));  // a number near it has the unit as last place
  x = x > C::exp_infinite ? C::exp_infinite : x;
  x = x < C::exp_zero ? C::exp_zero : x;
  const Vector<T> shifted = x * log2_e + shifter;
  const Vector<T> n = shifted - shifter;
  const Vector<T> r = x - n * C::ln2_high - n * C::ln2_low + low;
  const Vector<Word<T>> whole = to_word<T>(shifted), half = whole >> 1;  // n and ⌊n/2⌋ in the lowest bits
  return {from_word<T>(one_word<T> + (half << mantissa_bits<T>)),
          from_word<T>(one_word<T> + ((whole - half) << mantissa_bits<T>)), r + r * r * polynomial<T>(r, C::exp)};
}

/// eˣ.
template <class T>
[[gnu::always_inline]] inline Vector<T> exp(Vector<T> x) {
  return exponential<T>(x, Vector<T>{}).value();
}

/// log(1 + x). With u = 1 + x rounded, u = 2ᵏ m, m ∈ [√½, √2): 1 + x = 2ᵏ (1 + f), f = m − 1 + 2⁻ᵏ (x − (u − 1)), and
/// log(1 + f) = 2 artanh s = 2s + sR(s²), s = f/(2 + f), where 2s = f − sf.
template <class T>
[[gnu::always_inline]] inline Vector<T> log1p(Vector<T> x) {
  using C = Constants<T>;
  using Limits = std::numeric_limits<T>;
  constexpr Word<T> root_half_word = std::bit_cast<Word<T>>(T(0.70710678118654752440));
  constexpr T shifter = T(Word<T>(1) << mantissa_bits<T>);
  const Vector<T> u = T(1) + x;
  const Vector<Word<T>> biased_k = (to_word<T>(u) + (one_word<T> - root_half_word)) >> mantissa_bits<T>;
  const Vector<T> k = from_word<T>(biased_k | std::bit_cast<Word<T>>(shifter)) - (shifter + T(exponent_bias<T>));
  const Vector<T> m = from_word<T>(to_word<T>(u) + one_word<T> - (biased_k << mantissa_bits<T>));
  const Vector<T> twice_power = from_word<T>((2 * exponent_bias<T> + 1 - biased_k) << mantissa_bits<T>);  // 2¹⁻ᵏ
  const Vector<T> f = m - T(1) + (x - (u - T(1))) * (T(0.5) * twice_power);
  const Vector<T> s = f / (T(2) + f);
  const Vector<T> R = s * s * polynomial<T>(s * s, C::log);
  const Vector<T> result = k * C::ln2_high + (f - (s * (f - R) - k * C::ln2_low));
  const Vector<T> at_most_minus_one = x == T(-1) ? broadcast(-Limits::infinity()) : broadcast(Limits::quiet_NaN());
  return x > T(-1) ? (x < Limits::infinity() ? result : x) : at_most_minus_one;
}

/// tanh x = (1 − q)/(1 + q), q = e^(−2|x|), with the sign of x; its derivative is 1/cosh² x = 4q/(1 + q)².
template <class T>
[[gnu::always_inline]] inline ValueAndSlope<T> tanh(Vector<T> x) {
  const Exponential<T> q = exponential<T>(T(-2) * magnitude<T>(x), Vector<T>{});
  const Vector<T> power = q.factor * q.other_factor;
  const Vector<T> q_minus_one = (power - T(1)) + power * q.excess;
  const Vector<T> half_secant = T(1) / (T(2) + q_minus_one);
  return {with_sign<T>(q_minus_one * half_secant, x), T(4) * q.value() * half_secant * half_secant};
}

/// φ(a) = exp(−a²/2)/√(2π) and Q(a) = ∫_a^∞ φ, the standard normal density and upper tail.
template <class T>
struct NormalTail {
  Vector<T> density, tail;
};

/// For a ≥ 0. Q(a) exp(a²/2) (a + 4) is a smooth function of t = (a − 4)/(a + 4) up to a = ∞.
template <class T>
[[gnu::always_inline]] inline NormalTail<T> normal_tail(Vector<T> a) {
  using C = Constants<T>;
  constexpr Word<T> high_half = ~Word<T>(0) << ((mantissa_bits<T> + 2) / 2);
  a = a > C::tail_zero ? C::tail_zero : a;
  const Vector<T> high = from_word<T>(to_word<T>(a) & high_half);  // its square is exact
  const Vector<T> e = exponential<T>(T(-0.5) * (high * high), T(-0.5) * ((a - high) * (a + high))).value();
  const Vector<T> scale = T(1) / (a + T(4));
  const Vector<T> t = T(2) * (a * scale) - T(1);  // = (a − 4)/(a + 4)
  return {e * T(0.39894228040143267794), e * (scale * polynomial<T>(t, C::tail))};
}

}  // namespace zeroloss
