# Whole systems from outside. SLUICE_TEST_BIN and SLUICE_TEST_MODEL come from ops/test; without them
# the programs of this build and no model (skipped).
find_package(Python3 COMPONENTS Interpreter QUIET)
if(Python3_FOUND)
  add_test(NAME flow/test_up
           COMMAND ${Python3_EXECUTABLE} ${CMAKE_CURRENT_SOURCE_DIR}/flow/test_up.py ${CMAKE_BINARY_DIR}/bin)
  set_tests_properties(flow/test_up PROPERTIES LABELS flow TIMEOUT 600 SKIP_RETURN_CODE 77 RUN_SERIAL ON)
endif()
