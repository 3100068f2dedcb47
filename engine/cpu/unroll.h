#ifndef SLUICE_ENGINE_CPU_UNROLL_H
#define SLUICE_ENGINE_CPU_UNROLL_H
/* unroll - loops over registers have to be unrolled to stay in registers. Not under a sanitizer,
 * nor in SIMDe's plain C: there each copy drags its checks along, and a file took ten minutes. */

#define UNROLL_TEXT(x) _Pragma(#x)
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(SLUICE_SIMDE)
#define UNROLL(n) UNROLL_TEXT(GCC unroll 1)
#elif defined(__clang__)
#define UNROLL(n) UNROLL_TEXT(unroll n)
#else
#define UNROLL(n) UNROLL_TEXT(GCC unroll n)
#endif

#endif
