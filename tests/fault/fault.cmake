# kill -9 of every process under load. SLUICE_TEST_BIN and SLUICE_TEST_MODEL come from ops/test.
find_package(Python3 COMPONENTS Interpreter QUIET)
if(Python3_FOUND)
  add_test(NAME fault/kill_matrix
           COMMAND ${Python3_EXECUTABLE} ${CMAKE_CURRENT_SOURCE_DIR}/fault/kill_matrix.py --kills 100)
  set_tests_properties(fault/kill_matrix PROPERTIES LABELS fault TIMEOUT 900 SKIP_RETURN_CODE 77 RUN_SERIAL ON)
endif()
