// Prints the instruction-set levels that this machine can run, for CMake to choose from.
#include <iostream>

#include "levels.hpp"

int main() {
  const char* separator = "";
  for (const std::string& level : zeroloss::levels_of_this_machine()) {
    std::cout << separator << level;
    separator = ";";
  }
}
