/* cpuid.c - which paths this CPU, and its operating system, can run. */

#include <string.h>

#include "base/units.h"
#include "engine/cpu/cpu_ops.h"

#if defined(__x86_64__)
#include <cpuid.h>

#define XCR0_AVX    0x06u /* the system saves xmm and ymm registers */
#define XCR0_AVX512 0xe6u /* and masks, and zmm */

static unsigned xcr0(void)
{
    unsigned a, b, c, d, lo, hi;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE))
        return 0;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    (void)hi;
    return lo;
}

static bool has_avx2(void)
{
    const unsigned need1 = bit_FMA | bit_F16C | bit_AVX, need7 = bit_AVX2 | bit_BMI2;
    unsigned a, b, c, d;
    if ((xcr0() & XCR0_AVX) != XCR0_AVX)
        return false;
    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & need1) != need1)
        return false;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & need7) == need7;
}

static bool has_avx512(void)
{
    const unsigned need = bit_AVX512F | bit_AVX512BW | bit_AVX512VL | bit_AVX512DQ;
    unsigned a, b, c, d;
    if (!has_avx2() || (xcr0() & XCR0_AVX512) != XCR0_AVX512)
        return false;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & need) == need &&
           (c & bit_AVX512VNNI) != 0;
}
#endif

static bool has_scalar(void)
{
    return true;
}

/* Best first. AMX goes above avx512 (it also needs arch_prctl(ARCH_REQ_XCOMP_PERM)). */
static const struct {
    const struct cpu_ops *ops;
    bool (*is_there)(void);
} paths[] = {
#if defined(__x86_64__)
    {&cpu_avx512, has_avx512},
    {&cpu_avx2, has_avx2},
#endif
    {&cpu_scalar, has_scalar},
};

enum rc cpu_ops_choose(const char *path, const struct cpu_ops **ret, struct err *err)
{
    bool is_auto = !path || strcmp(path, "auto") == 0;
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        if (!is_auto && strcmp(path, paths[i].ops->name) != 0)
            continue;
        if (paths[i].is_there()) {
            *ret = paths[i].ops;
            return RC_OK;
        }
        if (!is_auto)
            return err_set(err, RC_INVALID, "this CPU cannot run the path %s", path);
    }
    return err_set(err, RC_BAD_INPUT, "there is no CPU path %s: auto, scalar, avx2, avx512", path);
}
