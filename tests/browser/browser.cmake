# The console: its own checks (types against the program's contract, formatting, unit tests), and in a
# real browser against a whole system. SLUICE_TEST_BIN and SLUICE_TEST_MODEL come from ops/test.
foreach(what web console)
  add_test(NAME browser/${what} COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/browser/run ${what})
  set_tests_properties(browser/${what} PROPERTIES LABELS browser TIMEOUT 900 SKIP_RETURN_CODE 77 RUN_SERIAL ON)
endforeach()
