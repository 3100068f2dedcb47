#ifndef SLUICE_BASE_UNITS_H
#define SLUICE_BASE_UNITS_H

#define KIB          ((size_t)1024)
#define MIB          (1024 * KIB)
#define GIB          (1024 * MIB)
#define MS_PER_SEC   1000
#define NS_PER_MS    1000000
#define NS_PER_SEC   INT64_C(1000000000)
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define MIN_OF(a, b) ((a) < (b) ? (a) : (b))
#define MAX_OF(a, b) ((a) > (b) ? (a) : (b))

#endif
