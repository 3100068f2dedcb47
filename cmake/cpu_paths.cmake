# Each instruction-set path is compiled with its own flags, so the rest of the program runs on any
# x86-64 and the path is chosen at run time. No -ffast-math: bit-identical results are a promise,
# and -ffp-contract=off keeps the compiler from fusing where the source does not say fma.
get_target_property(engine_type sluice_engine TYPE)
if(engine_type STREQUAL STATIC_LIBRARY)
  set_property(TARGET sluice_engine APPEND PROPERTY COMPILE_OPTIONS -ffp-contract=off)
endif()
# gcc 12 needs minutes and a gigabyte for AddressSanitizer over unrolled vector code: there the kernels keep
# UBSan, and the bounds that they are called with are checked around them.
set(kernel_optimise -O3)
if(SLUICE_SANITIZE)
  set(kernel_optimise "-O1 -fno-sanitize=address")
endif()
foreach(pair "avx2:-mavx2 -mfma -mf16c -mbmi2"
             "avx512:-mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mavx2 -mfma -mf16c -mbmi2")
  string(REGEX REPLACE ":.*" "" path ${pair})
  string(REGEX REPLACE "^[^:]*:" "" flags ${pair})
  file(GLOB found ${CMAKE_SOURCE_DIR}/engine/cpu/${path}*.c)
  foreach(file ${found})
    set_source_files_properties(${file} PROPERTIES COMPILE_FLAGS "${flags} ${kernel_optimise}")
  endforeach()
endforeach()
