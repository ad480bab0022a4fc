// log(1 + x) of a register of numbers. The largest errors seen are 1.5 (float64) and 1.6 (float32) units in the last
// place. See exp_log_tanh.hpp.
#pragma once

#include "exp_log_tanh.hpp"

namespace zeroloss {

/// A least-squares fit, made like the fits in `Constants`: log(1 + f) = 2s + sR(s²), s = f/(2 + f), R the polynomial
/// times s².
template <class T>
inline constexpr double log1p_coefficients[] = {0.66666666666667374, 0.39999999999398628, 0.28571428745551214,
                                                0.22222198273544116, 0.1818357906686337,  0.1531368752092411,
                                                0.14799487338411288};
template <>
inline constexpr float log1p_coefficients<float>[] = {0.666667759f, 0.399775743f, 0.298712373f};

/// log(1 + x). With u = 1 + x rounded, u = 2ᵏ m, m ∈ [√½, √2): 1 + x = 2ᵏ (1 + f), f = m − 1 + 2⁻ᵏ (x − (u − 1)), and
/// log(1 + f) = 2 artanh s = 2s + sR(s²), s = f/(2 + f), where 2s = f − sf.
template <class T>
[[gnu::always_inline]] inline Vector<T> log1p(Vector<T> x) {
  using C = Constants<T>;
  using Limits = std::numeric_limits<T>;
  constexpr Word<T> root_half_word = std::bit_cast<Word<T>>(T(0.70710678118654752440));
  constexpr T shifter = T(Word<T>(1) << mantissa_bits<T>);
  constexpr Word<T> one_word = std::bit_cast<Word<T>>(T(1));
  constexpr Word<T> exponent_bias = Limits::max_exponent - 1;
  const Vector<T> u = T(1) + x;
  const Vector<Word<T>> biased_k = (to_word<T>(u) + (one_word - root_half_word)) >> mantissa_bits<T>;
  const Vector<T> k = from_word<T>(biased_k | std::bit_cast<Word<T>>(shifter)) - (shifter + T(exponent_bias));
  const Vector<T> m = from_word<T>(to_word<T>(u) + one_word - (biased_k << mantissa_bits<T>));
  const Vector<T> twice_power = from_word<T>((2 * exponent_bias + 1 - biased_k) << mantissa_bits<T>);  // 2¹⁻ᵏ
  const Vector<T> f = m - T(1) + (x - (u - T(1))) * (T(0.5) * twice_power);
  const Vector<T> s = f / (T(2) + f), s2 = s * s;
  const Vector<T> R = s2 * polynomial<T>(s2, s2 * s2, log1p_coefficients<T>);
  const Vector<T> result = k * C::ln2_high + (f - (s * (f - R) - k * C::ln2_low));
  const Vector<T> at_most_minus_one = x == T(-1) ? broadcast(-Limits::infinity()) : broadcast(Limits::quiet_NaN());
  return x > T(-1) ? (x < Limits::infinity() ? result : x) : at_most_minus_one;
}

}  // namespace zeroloss
