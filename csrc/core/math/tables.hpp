// Tables of sixteen numbers for the functions of exp_log_tanh.hpp. AVX-512 reads them by permutes. A table leaves a
// short interval to a polynomial, which then has half as many terms.
#pragma once

#include <bit>

#include "../../linalg/permute.hpp"
#include "words.hpp"

namespace zeroloss {

#if defined(__AVX512F__)
inline constexpr bool has_tables = true;
#else
inline constexpr bool has_tables = false;
#endif

template <class T>
struct Table {
  T values[16];

  /// Each lane gets the number that the four lowest bits of its word choose.
  [[gnu::always_inline]] Vector<T> operator[](Vector<Word<T>> word) const {
    const auto index = (Vector<LaneInteger<T>>)word;
    if constexpr (lanes<T> == 16)
      return permute(load(values), index);
    else
      return permute(load(values), load(values + 8), index);
  }
};

/// Exponentials are returned times 1/unscale. They are then normal numbers unless eˣ ≤ 1 is 0.
template <class T>
inline constexpr T unscale = T(0x1p-64);

template <class T, class F>
constexpr Table<T> tabulate(const F& f) {
  Table<T> table{};
  for (int i = 0; i < 16; ++i) table.values[i] = f(i);
  return table;
}

/// 2^(j/16), j = 0 … 15.
inline constexpr double sixteenth_powers[] = {1.0,
                                              1.0442737824274138,
                                              1.0905077326652577,
                                              1.1387886347566916,
                                              1.189207115002721,
                                              1.241857812073484,
                                              1.2968395546510096,
                                              1.3542555469368927,
                                              1.4142135623730951,
                                              1.4768261459394993,
                                              1.5422108254079407,
                                              1.6104903319492543,
                                              1.681792830507429,
                                              1.7562521603732995,
                                              1.8340080864093424,
                                              1.9152065613971474};

/// 2^(j/16)/unscale, less the bits of j that a shift of the word 16k + j by `mantissa_bits − 4` leaves in the mantissa.
/// The sum of the shifted word and the entry is the number 2^(k + j/16)/unscale.
template <class T>
inline constexpr Table<T> shifted_powers = tabulate<T>([](int j) {
  const T power = static_cast<T>(sixteenth_powers[j]) / unscale<T>;
  return std::bit_cast<T>(std::bit_cast<Word<T>>(power) - (Word<T>(j) << (mantissa_bits<T> - 4)));
});

/// The relative error of 2^(j/16) as it is rounded to a T.
template <class T>
inline constexpr Table<T> power_errors = {{0, 8.189317638195515e-17, -2.7939114859515733e-17, 7.826573258636076e-17,
                                           3.3484623336251524e-17, 3.750854201303127e-17, 1.9572585293112036e-17,
                                           5.68648095791174e-17, -6.835808657661922e-17, -2.3591094770850053e-17,
                                           5.1548301170786783e-17, 1.5341410053603723e-17, 4.875160526227062e-17,
                                           1.685487290628973e-17, 1.790126907604513e-17, -5.545065618639427e-17}};
template <>
inline constexpr Table<float> power_errors<float> = {
    {0, 4.6285471e-08f, -1.1992157e-08f, 4.7297824e-08f, 3.1934181e-08f, 3.6210573e-08f, -3.0990721e-08f,
     -7.4752132e-09f, 1.7114271e-08f, -3.0476834e-08f, 5.2333342e-09f, 6.1075916e-09f, -1.4719605e-08f, -5.2587951e-09f,
     -6.1282598e-09f, 5.1406092e-09f}};

/// Numbers c near 1/(1 + i/15), i = 0 … 15. They are multiples of 2⁻²⁴, and their logarithms lie within a hundredth of
/// a unit in the last place from numbers of either precision.
template <class T>
inline constexpr Table<T> inverses = {{1.0, 0.9377723932266235, 0.8822982907295227, 0.8333028554916382,
                                       0.7893025279045105, 0.7501940727233887, 0.7142630815505981, 0.6818563938140869,
                                       0.6520439386367798, 0.6251357793807983, 0.5997194647789001, 0.5769956111907959,
                                       0.5554801225662231, 0.5359756946563721, 0.5170091986656189, 0.5}};

/// −log c.
template <class T>
inline constexpr Table<T> logarithms = {{T(0.0), T(0.06424801056478915), T(0.12522508204539953), T(0.18235813087281227),
                                         T(0.2366055995559313), T(0.2874233422941301), T(0.336503922952382),
                                         T(0.3829362095658659), T(0.42764332877891675), T(0.46978640583117254),
                                         T(0.5112932918074767), T(0.549920618758085), T(0.587922453501772),
                                         T(0.6236664647298371), T(0.6596946122420121), T(0.6931471805599453)}};

}  // namespace zeroloss
