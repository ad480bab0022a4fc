// The instruction-set levels that this processor and this operating system can run.
#pragma once

#include <string>
#include <vector>

namespace zeroloss {

/// Returns the levels, from the baseline to the widest. The compiler's run-time check reads CPUID and, by XGETBV,
/// whether the operating system saves the wide registers.
inline std::vector<std::string> levels_of_this_machine() {
  std::vector<std::string> levels{"base"};
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("x86-64-v3")) levels.emplace_back("v3");
  if (__builtin_cpu_supports("x86-64-v4")) levels.emplace_back("v4");
#endif
  return levels;
}

}  // namespace zeroloss
