#ifndef SLUICE_TESTS_FAKE_MUST_H
#define SLUICE_TESTS_FAKE_MUST_H
/* must - for what a fake itself relies on, inside and outside of test programs. */

#include <stdio.h>
#include <stdlib.h>

#define MUST(cond)                                                                                 \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #cond);                     \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

#endif
