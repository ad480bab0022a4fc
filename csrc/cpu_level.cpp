// Which of the instruction-set levels that were built this processor and this operating system can run.
// Compiled for the baseline alone, so that it can be loaded before the answer is known.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <vector>

namespace {

/// From the plainest to the widest. The compiler's run-time check reads CPUID and, through XGETBV,
/// whether the operating system saves the wide registers.
std::vector<std::string> possible_levels() {
  std::vector<std::string> levels;
#if defined(ZEROLOSS_BUILT_base)
  levels.emplace_back("base");
#endif
#if defined(__x86_64__)
  __builtin_cpu_init();
#if defined(ZEROLOSS_BUILT_v3)
  if (__builtin_cpu_supports("x86-64-v3")) levels.emplace_back("v3");
#endif
#if defined(ZEROLOSS_BUILT_v4)
  if (__builtin_cpu_supports("x86-64-v4")) levels.emplace_back("v4");
#endif
#endif
  return levels;
}

}  // namespace

PYBIND11_MODULE(_cpu_level, m) {
  m.doc() = "Detects the instruction-set levels that can run here.";
  m.def("possible_levels", &possible_levels);
}
