// Replaces denormal numbers by zero while a kernel runs. Arithmetic with them takes up to a hundred times longer on
// some processors, and weights that only decay become denormal.
#pragma once

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

namespace zeroloss {

/// While an object of this class exists, floating-point results and operands of this thread below the normal range are
/// replaced by zero.
class FlushDenormals {
 public:
  FlushDenormals() : before_(control()) { set_control(before_ | flush); }
  ~FlushDenormals() { set_control(before_); }
  FlushDenormals(const FlushDenormals&) = delete;
  FlushDenormals& operator=(const FlushDenormals&) = delete;

 private:
#if defined(__SSE__)
  using Word = unsigned;
  static constexpr Word flush = 0x8040;  // flush to zero, denormals are zeros
  static Word control() { return _mm_getcsr(); }
  static void set_control(Word word) { _mm_setcsr(word); }
#elif defined(__aarch64__)
  using Word = unsigned long;
  static constexpr Word flush = 1ul << 24;  // FZ
  static Word control() {                   // Clang has no builtin for it
    Word word;
    asm volatile("mrs %0, fpcr" : "=r"(word));
    return word;
  }
  static void set_control(Word word) { asm volatile("msr fpcr, %0" : : "r"(word) : "memory"); }
#else
  using Word = unsigned;
  static constexpr Word flush = 0;
  static Word control() { return 0; }
  static void set_control(Word) {}
#endif

  const Word before_;
};

}  // namespace zeroloss
