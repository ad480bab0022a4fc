# Converts ZEROLOSS_LEVELS to a list of instruction-set levels. Each level is compiled to one module of kernels.
#   runnable  every level that this machine can run (the default)
#   native    the widest level that this machine can run
#   all       every level of this kind of processor; wheels have them all
#   a list    for example base;v3
set(ZEROLOSS_LEVELS runnable CACHE STRING "Instruction-set levels to compile: runnable, native, all, or a list")

set(FLAGS_base "")
set(FLAGS_v3 -march=x86-64-v3)
set(FLAGS_v4 -march=x86-64-v4 -mprefer-vector-width=512)

if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$")
  set(KNOWN_LEVELS base v3 v4)
else()
  set(KNOWN_LEVELS base)
endif()

set(LEVELS ${ZEROLOSS_LEVELS})
if(LEVELS STREQUAL "all" OR (CMAKE_CROSSCOMPILING AND LEVELS MATCHES "^(runnable|native)$"))
  set(LEVELS ${KNOWN_LEVELS})
elseif(LEVELS MATCHES "^(runnable|native)$")
  try_run(LEVELS_STATUS LEVELS_COMPILED SOURCES ${CMAKE_SOURCE_DIR}/csrc/print_levels.cpp
    CXX_STANDARD 20 RUN_OUTPUT_VARIABLE LEVELS)
  if(NOT LEVELS_COMPILED OR NOT LEVELS_STATUS EQUAL 0)
    message(FATAL_ERROR "Cannot find out which levels this machine can run. Set ZEROLOSS_LEVELS to all or to a list.")
  endif()
  if(ZEROLOSS_LEVELS STREQUAL "native")
    list(GET LEVELS -1 LEVELS)
  endif()
endif()

foreach(level ${LEVELS})
  if(NOT level IN_LIST KNOWN_LEVELS)
    message(FATAL_ERROR "ZEROLOSS_LEVELS: unknown level ${level}; this processor has ${KNOWN_LEVELS}")
  endif()
endforeach()
message(STATUS "Instruction-set levels: ${LEVELS}")
