// exp, log, tanh and the normal distribution of a register of numbers. libm chooses its code by processor; these
// functions give the same bits on every machine of an instruction-set level. They do not branch on values, and a lane
// never depends on the other lanes. Infinities, NaN, overflow and denormal results are correct. Test:
// tests/test_activations.py.
//
// Largest errors seen at the x86-64 levels, in units in the last place, for 8 million float64 | 70 million float32
// values:
//   tanh 3.2 | 3.2    its slope 4.5 | 4.5    log(1 + eˣ) 2.3 | 2.3    logistic function 4.0 | 3.9
//   normal density 2.3 | 2.1    normal tail 7.6 | 5.7 (with fused multiply-add 5.9 | 5.3)
#pragma once

#include <bit>
#include <cstddef>

#include "../../linalg/select.hpp"
#include "tables.hpp"

namespace zeroloss {

/// A function of each lane, and its derivative.
template <class T>
struct ValueAndSlope {
  Vector<T> value, slope;
};

/// Coefficients, lowest power first. The polynomials are least-squares fits of the relative error at Chebyshev points,
/// in 60 digits; each coefficient was fitted after the earlier ones had been rounded. The numerator and denominator of
/// the rational function were fitted by linear least squares, repeatedly, each time weighted by the previous
/// denominator. Those for sixteenths are for the intervals that the tables leave: |x| ≤ ln 2/32 for exp, and −1/32 ≤ x
/// ≤ 1/30 for log(1 + x).
template <class T>
struct Constants;

template <>
struct Constants<double> {
  static constexpr double ln2_high = 0x1.62e42fefap-1, ln2_low = 0x1.cf79abc9e3b3ap-40;  // high · 1080 is exact
  static constexpr double exp_zero = -748;                                               // below it, 4eˣ = 0
  static constexpr double tail_zero = 38.7;                                              // exp(−tail_zero²/2) = 0
  static constexpr double exp[] = {0.50000000000000133,    0.16666666666666488,    0.041666666666511976,
                                   0.0083333333334472594,  0.0013888888947727362,  0.00019841269607174817,
                                   2.4801489318727205e-05, 2.7557497479187718e-06, 2.7631478356229086e-07,
                                   2.5028104798238917e-08};
  static constexpr double exp_of_sixteenth[] = {0.4999999999999928, 0.1666666666437274, 0.04166666671300155,
                                                0.008333472999168307, 0.0013888314626246741};
  static constexpr double expm1_of_sixteenth[] = {0.5000000000000003,   0.16666666666666657,   0.04166666666152795,
                                                  0.008333333333646775, 0.0013889098043494163, 0.00019841367521185896};
  static constexpr double log[] = {0.6666666666666631,  0.4000000000015503,  0.2857142854818478,  0.22222223947410172,
                                   0.18181744745886835, 0.15386542044581678, 0.13301210587630305, 0.12104207982978112,
                                   0.08348282256657683, 0.17003511642435862};
  static constexpr double log_of_sixteenth[] = {-0.49999999999999534, 0.333333333333392,    -0.2500000000578353,
                                                0.19999999963178752,  -0.16666647268988283, 0.1428577490433987,
                                                -0.12524120418253445, 0.11089896396806502};
  static constexpr double tail[] = {0.5,
                                    0.82660634845126968,
                                    0.67753766166697493,
                                    0.35573675580916247,
                                    0.13125280422269459,
                                    0.035396196808825019,
                                    0.0070562003613070124,
                                    0.0010279726203139359,
                                    0.00010513592447027289,
                                    6.8641624714160958e-06,
                                    2.1989340806358162e-07};
  static constexpr double tail_below[] = {1,
                                          2.4510972577054049,
                                          2.8107679822833282,
                                          1.9945547800962258,
                                          0.97544363500046993,
                                          0.34616769240123874,
                                          0.091267441476348077,
                                          0.017949705626258528,
                                          0.0025939511395801917,
                                          0.0002640878719872382,
                                          1.7205903732545645e-05,
                                          5.5119103405700266e-07};
};

template <>
struct Constants<float> {
  static constexpr float ln2_high = 0x1.62ep-1f, ln2_low = 0x1.0bfbe8p-15f;  // high · 155 is exact
  static constexpr float exp_zero = -107;
  static constexpr float tail_zero = 14.5f;
  static constexpr float exp[] = {0.499999881f, 0.166665182f, 0.0416696556f, 0.00836896151f, 0.00137448183f};
  static constexpr float exp_of_sixteenth[] = {0.5000163f, 0.16666842f};
  static constexpr float expm1_of_sixteenth[] = {0.5f, 0.16666992f, 0.04166707f};
  static constexpr float log[] = {0.666666746f, 0.399989545f, 0.286149651f, 0.214470968f, 0.242320001f};
  static constexpr float log_of_sixteenth[] = {-0.49999994f, 0.33333352f, -0.25022316f, 0.19983312f};
  static constexpr float tail[] = {0.5f, 0.437350184f, 0.182512999f, 0.0403835773f, 0.0040775775f};
  static constexpr float tail_below[] = {1, 1.67258525f, 1.1995517f, 0.467559367f, 0.101233274f, 0.0102208471f};
};

/// Σ_i coefficient_i xⁱ over i = first, first + stride, …, divided by x^first, by Horner's rule in y = x^stride.
template <class T, std::size_t first, std::size_t stride, std::size_t size>
[[gnu::always_inline]] inline Vector<T> horner(Vector<T> y, const T (&coefficient)[size]) {
  if constexpr (first + stride >= size)
    return broadcast(coefficient[first]);
  else
    return coefficient[first] + y * horner<T, first + stride, stride>(y, coefficient);
}

/// Σ_i coefficient_i xⁱ, with separate sums of even and odd powers: two chains of half the length.
template <class T, std::size_t size>
[[gnu::always_inline]] inline Vector<T> polynomial(Vector<T> x, Vector<T> x_squared, const T (&coefficient)[size]) {
  return horner<T, 0, 2>(x_squared, coefficient) + x * horner<T, 1, 2>(x_squared, coefficient);
}

/// Whether the compiler fuses multiplications and additions (the product is not rounded before the addition).
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
inline constexpr bool has_fma = true;
#else
inline constexpr bool has_fma = false;
#endif

/// eˣ/unscale = power (1 + excess).
template <class T>
struct Exponential {
  Vector<T> power, excess;

  [[gnu::always_inline]] Vector<T> scaled() const { return power + power * excess; }
};

/// n = x / ln 2, rounded to a whole number, or to sixteenths if there are tables, as a number and in the lowest bits of
/// a word; x is given as product · factor.
template <class T>
struct Halvings {
  static constexpr int fraction_bits = has_tables ? 4 : 0;

  Vector<T> n;
  Vector<Word<T>> word;

  [[gnu::always_inline]] explicit Halvings(Vector<T> product, T factor = T(1)) {
    constexpr T log2_e = T(1.44269504088896340736);
    // Numbers near it are multiples of 1 or 1/16, which is the unit of their last place.
    constexpr T shifter = T(3) * T(Word<T>(1) << (mantissa_bits<T> - 1 - fraction_bits));
    const Vector<T> shifted = product * (factor * log2_e) + shifter;
    n = shifted - shifter;
    word = to_word<T>(shifted);
  }
  /// r = x − n ln 2. If `exact_near_zero`, 1 − eˣ has the digits of −x there.
  template <bool exact_near_zero = false>
  [[gnu::always_inline]] Exponential<T> exponential(Vector<T> r) const {
    using C = Constants<T>;
    const Vector<Word<T>> exponent = word << (mantissa_bits<T> - fraction_bits);
    const Vector<T> r_squared = r * r;
    if constexpr (!has_tables) {
      constexpr Word<T> scaled_one = std::bit_cast<Word<T>>(T(1) / unscale<T>);
      return {from_word<T>(scaled_one + exponent), r + r_squared * polynomial<T>(r, r_squared, C::exp)};
    } else {
      const Vector<T> power = from_word<T>(to_word<T>(shifted_powers<T>[word]) + exponent);
      if constexpr (exact_near_zero)
        return {power, r + r_squared * polynomial<T>(r, r_squared, C::expm1_of_sixteenth) + power_errors<T>[word]};
      else
        return {power, r + r_squared * polynomial<T>(r, r_squared, C::exp_of_sixteenth)};
    }
  }
};

/// eˣ for exp_zero ≤ x ≤ 0.
template <class T, bool exact_near_zero = false>
[[gnu::always_inline]] inline Exponential<T> exponential(Vector<T> x) {
  using C = Constants<T>;
  const Halvings<T> halvings(x);
  return halvings.template exponential<exact_near_zero>(x - halvings.n * C::ln2_high - halvings.n * C::ln2_low);
}

/// exp(−a²/2) for |a| ≤ tail_zero. The rounding error of the square is corrected.
template <class T>
[[gnu::always_inline]] inline Exponential<T> half_gaussian(Vector<T> a) {
  using C = Constants<T>;
  const Halvings<T> halvings(a * a, T(-0.5));
  if constexpr (has_fma) {
    constexpr T ratio = C::ln2_low / C::ln2_high;
    const Vector<T> n_high = halvings.n * C::ln2_high;  // exact; it is used twice, so the other product is fused
    return halvings.exponential((T(-0.5) * a) * a - n_high - ratio * n_high);
  } else {
    constexpr Word<T> high_half = ~Word<T>(0) << ((mantissa_bits<T> + 2) / 2);
    const Vector<T> high = from_word<T>(to_word<T>(a) & high_half);  // its square is exact
    const Vector<T> low = T(-0.5) * ((a - high) * (a + high));
    return halvings.exponential(T(-0.5) * (high * high) - halvings.n * C::ln2_high - halvings.n * C::ln2_low + low);
  }
}

/// tanh x = (1 − q)/(1 + q), q = e^(−2|x|), with the sign of x; its derivative is 1/cosh² x = 4q/(1 + q)².
template <class T>
[[gnu::always_inline]] inline ValueAndSlope<T> tanh(Vector<T> x) {
  constexpr T limit = Constants<T>::exp_zero / 2;
  const Vector<T> minus_x = from_word<T>(to_word<T>(x) | sign_word<T>);  // −|x|
  const Vector<T> bounded = at_least<T>(minus_x, broadcast(limit));
  const Exponential<T> q = exponential<T, true>(bounded + bounded);
  const Vector<T> product = q.power * q.excess, scaled = q.power + product;
  const Vector<T> one_minus_q = (T(1) - unscale<T> * q.power) - unscale<T> * product;
  const Vector<T> ratio = T(1) / (T(1) + unscale<T> * scaled);
  return {with_sign<T>(one_minus_q * ratio, x), scaled * (ratio * ratio * (T(4) * unscale<T>))};
}

/// A logarithm and a logistic function.
template <class T>
struct SoftStep {
  Vector<T> log, logistic;
};

/// eˣ for x ≤ 0; 0 if 4eˣ is 0.
template <class T>
[[gnu::always_inline]] inline Vector<T> exp_nonpositive(Vector<T> x) {
  return exponential<T>(at_least<T>(x, broadcast(Constants<T>::exp_zero))).scaled() * unscale<T>;
}

/// For 0 ≤ q ≤ 1: log(1 + q), and q/(1 + q) if the sign bit of z is set, else 1/(1 + q).
template <class T>
[[gnu::always_inline]] inline SoftStep<T> soft_step(Vector<T> q, Vector<T> z) {
  using C = Constants<T>;
  if constexpr (has_tables) {
    // log(1 + q) = log(1 + e) − log c, where 1 + e = c (1 + q).
    constexpr T shifter = T(3) * T(Word<T>(1) << (mantissa_bits<T> - 1));
    const Vector<Word<T>> i = to_word<T>(q * T(15) + shifter);
    const Vector<T> c = inverses<T>[i], e = q * c + (c - T(1)), e2 = e * e;
    return {logarithms<T>[i] + (e + e2 * polynomial<T>(e, e2, C::log_of_sixteenth)),
            select_by_sign<T>(z, q, broadcast(T(1))) / (T(1) + q)};
  } else {
    // log(1 + q) = 2 artanh s = 2s + s³P(s²), where s = q/(2 + q) and 2s = q − sq. Both results need one division only,
    // by (1 + q)(2 + q).
    const Vector<T> u = T(1) + q, v = T(2) + q, ratio = T(1) / (u * v);
    const Vector<T> s = q * (u * ratio), s2 = s * s;
    const Vector<T> P = horner<T, 0, 1>(s2, C::log);
    return {q - s * (q - s2 * P), select_by_sign<T>(z, q * v, v) * ratio};
  }
}

/// φ(a) = exp(−a²/2)/√(2π) and Q(a) = ∫_a^∞ φ, the standard normal density and upper tail.
template <class T>
struct NormalTail {
  Vector<T> density, tail;
};

/// The normal density and tail for 0 ≤ a ≤ tail_zero. Q(a)/exp(−a²/2) is a rational function with positive
/// coefficients.
template <class T>
[[gnu::always_inline]] inline NormalTail<T> normal_tail(Vector<T> a) {
  using C = Constants<T>;
  const Vector<T> e = half_gaussian<T>(a).scaled(), a_squared = a * a;
  const Vector<T> ratio = unscale<T> / polynomial<T>(a, a_squared, C::tail_below);
  return {e * (unscale<T> * T(0.39894228040143267794)), e * (ratio * polynomial<T>(a, a_squared, C::tail))};
}

}  // namespace zeroloss
