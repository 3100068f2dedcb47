# The OpenAI SDKs against a whole system. SLUICE_TEST_PYTHON, SLUICE_TEST_BIN and SLUICE_TEST_MODEL
# come from ops/test.
foreach(sdk python node)
  add_test(NAME clients/${sdk} COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/clients/run test_${sdk}.py)
  set_tests_properties(clients/${sdk} PROPERTIES LABELS clients TIMEOUT 900 SKIP_RETURN_CODE 77 RUN_SERIAL ON)
endforeach()
