# zeroloss_module(NAME SOURCES FLAGS ...) adds a Python extension module. It exports only its entry point.
option(ZEROLOSS_WERROR "Treat compiler warnings as errors" OFF)
set(ZEROLOSS_SANITIZE "" CACHE STRING "Sanitizers to compile with: address,undefined or thread")

set(WARNINGS -Wall -Wextra -Wpedantic -Wshadow -Wno-psabi)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC 12 warns about uninitialized variables in its own AVX-512 intrinsics, which Eigen uses. Clang checks ours.
  list(APPEND WARNINGS -Wno-maybe-uninitialized -Wno-uninitialized)
  if(CMAKE_BUILD_TYPE STREQUAL "RelWithDebInfo")
    # At -O2 it also warns about its own strings, which pybind11 uses. The release build checks ours.
    list(APPEND WARNINGS -Wno-array-bounds -Wno-stringop-overflow)
  endif()
elseif(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  # Clang does not have the attribute noipa. Functions with noipa are also noinline, which is enough for Clang.
  list(APPEND WARNINGS -Wno-unknown-attributes)
endif()
if(ZEROLOSS_WERROR)
  list(APPEND WARNINGS -Werror)
endif()

if(ZEROLOSS_SANITIZE)
  set(SANITIZE -fsanitize=${ZEROLOSS_SANITIZE})
  set(SANITIZE_COMPILE ${SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
endif()

function(zeroloss_module name sources)
  cmake_parse_arguments(ARG "" "" "FLAGS" ${ARGN})
  pybind11_add_module(${name} MODULE NO_EXTRAS ${sources})
  target_compile_options(${name} PRIVATE -ffp-contract=fast ${ARG_FLAGS} ${SANITIZE_COMPILE} ${WARNINGS})
  target_link_options(${name} PRIVATE ${SANITIZE})
  if(NOT APPLE)
    target_link_options(${name} PRIVATE -Wl,--version-script=${CMAKE_SOURCE_DIR}/csrc/exports.map)
    set_target_properties(${name} PROPERTIES LINK_DEPENDS ${CMAKE_SOURCE_DIR}/csrc/exports.map)
  endif()
  install(TARGETS ${name} DESTINATION zeroloss/_kernels)
endfunction()
