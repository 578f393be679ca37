/* SPDX-License-Identifier: Apache-2.0 */
/* dispatch.c - fills one table a level, from the scalar functions upwards, once. */
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/kernels.h"

#if defined(__x86_64__)
#include <cpuid.h>

/* __builtin_cpu_supports("avx2") includes that the system saves the ymm registers; f16c is a bit
 * that not every compiler's builtin knows. */
static bool has_avx2(void)
{
    unsigned a, b, c = 0, d;
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}
#else
static bool has_avx2(void)
{
    return false;
}
#endif

static const char *const names[QK_ISA_COUNT] = {[QK_SCALAR] = "scalar", [QK_AVX2] = "avx2"};

static qk_table tables[QK_ISA_COUNT];
static bool present[QK_ISA_COUNT];
static qk_isa in_use;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* The level that QUANT_ISA caps at; unset or empty is no cap. */
static qk_isa cap(void)
{
    const char *word = getenv("QUANT_ISA");
    if (!word || !word[0]) {
        return (qk_isa)(QK_ISA_COUNT - 1);
    }
    for (int level = 0; level < QK_ISA_COUNT; level++) {
        if (strcmp(word, names[level]) == 0) {
            return (qk_isa)level;
        }
    }
    return QK_SCALAR;
}

static void fill(void)
{
#define QK_OP(op, cls) tables[QK_SCALAR].op = qk_##op##_scalar;
#include "kernels/kernels.def"
#undef QK_OP
    present[QK_SCALAR] = true;
    present[QK_AVX2] = has_avx2();
    tables[QK_AVX2] = tables[QK_SCALAR];
    if (present[QK_AVX2]) {
        qk_override_avx2(&tables[QK_AVX2]);
    }
    for (int level = 0; level < QK_ISA_COUNT; level++) {
        tables[level].name = names[level];
        if (present[level] && level <= (int)cap()) {
            in_use = (qk_isa)level;
        }
    }
}

const qk_table *qk(void)
{
    pthread_once(&once, fill);
    return &tables[in_use];
}

const qk_table *qk_table_for(qk_isa level)
{
    pthread_once(&once, fill);
    return (unsigned)level < QK_ISA_COUNT && present[level] ? &tables[level] : NULL;
}

const char *qk_isa_name(qk_isa level)
{
    return (unsigned)level < QK_ISA_COUNT ? names[level] : "";
}
