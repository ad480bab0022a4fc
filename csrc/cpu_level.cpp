// Reports which of the compiled instruction-set levels this machine can run.
// It is compiled for the baseline, so every machine can load it.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>

#include "levels.hpp"

namespace {

/// Returns the levels, from the baseline to the widest.
std::vector<std::string> possible_levels() {
  const std::vector<std::string> compiled{ZEROLOSS_COMPILED_LEVELS};
  std::vector<std::string> levels = zeroloss::levels_of_this_machine();
  std::erase_if(levels, [&](const std::string& level) {
    return std::find(compiled.begin(), compiled.end(), level) == compiled.end();
  });
  return levels;
}

}  // namespace

PYBIND11_MODULE(_cpu_level, m) {
  m.doc() = "Reports the instruction-set levels that are compiled and can run on this machine.";
  m.def("possible_levels", &possible_levels);
}
