/* SPDX-License-Identifier: Apache-2.0 */
/* dispatch.c - fills one table a level, from the scalar functions upwards, once. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/kernels.h"

/* What a processor says of itself, as far as levels ask: CPUID leaf 1 ECX, leaf 7 EBX and ECX, and
 * the register states that the system saves (XCR0). Read here, bit by bit, because a compiler's
 * own builtin knows only the features that the compiler knows. */
typedef struct features {
    uint32_t one_c, seven_b, seven_c, saved;
} features;

#if defined(__x86_64__)
#include <cpuid.h>

static features features_here(void)
{
    enum { OSXSAVE = 1 << 27 };
    features f = {0, 0, 0, 0};
    uint32_t a, b, c, d;
    if (__get_cpuid(1, &a, &b, &c, &d)) {
        f.one_c = c;
    }
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
        f.seven_b = b;
        f.seven_c = c;
    }
    if (f.one_c & OSXSAVE) {
        __asm__ volatile("xgetbv" : "=a"(f.saved), "=d"(d) : "c"(0));
    }
    return f;
}
#else
static features features_here(void)
{
    return (features){0, 0, 0, 0};
}
#endif

enum { YMM = 0x06, ZMM = 0xe6 };             /* saved: xmm and ymm; also masks and zmm */
#define BIT(n) (UINT32_C(1) << (n))
#define F16C BIT(29)                         /* leaf 1 ECX */
#define AVX2 BIT(5)                          /* leaf 7 EBX */
#define F_DQ_BW_VL (BIT(16) | BIT(17) | BIT(30) | BIT(31))
#define VBMI_VBMI2 (BIT(1) | BIT(6))         /* leaf 7 ECX */
#define VNNI BIT(11)

/* A level needs what is in its row and everything that the level it stands upon needs. */
static const struct {
    const char *name;
    qk_isa upon;
    features needs;
    bool (*override)(qk_table *t);
} levels[QK_ISA_COUNT] = {
    [QK_SCALAR] = {"scalar", QK_SCALAR, {0, 0, 0, 0}, NULL},
    [QK_NEON] = {"neon", QK_SCALAR, {0, 0, 0, 0}, qk_override_neon},
    [QK_AVX2] = {"avx2", QK_SCALAR, {F16C, AVX2, 0, YMM}, qk_override_avx2},
    [QK_AVX512] = {"avx512", QK_AVX2, {0, F_DQ_BW_VL, 0, ZMM}, qk_override_avx512},
    [QK_AVX512VNNI] = {"avx512vnni", QK_AVX512, {0, 0, VNNI, ZMM}, qk_override_avx512vnni},
    [QK_AVX512VBMI] = {"avx512vbmi", QK_AVX512VNNI, {0, 0, VBMI_VBMI2, ZMM},
                       qk_override_avx512vbmi},
};

static qk_table tables[QK_ISA_COUNT];
static bool present[QK_ISA_COUNT];
static qk_isa in_use;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static bool has(features f, features needs)
{
    return (f.one_c & needs.one_c) == needs.one_c && (f.seven_b & needs.seven_b) == needs.seven_b &&
           (f.seven_c & needs.seven_c) == needs.seven_c && (f.saved & needs.saved) == needs.saved;
}

/* The level that QUANT_ISA caps at; unset or empty: the highest that is present. */
static qk_isa cap(void)
{
    const char *word = getenv("QUANT_ISA");
    const bool any = !word || !word[0];
    int found = QK_SCALAR;
    for (int level = 0; level < QK_ISA_COUNT; level++) {
        bool named = any ? present[level] : strcmp(word, levels[level].name) == 0;
        found = named ? level : found;
    }
    return (qk_isa)found;
}

static void fill(void)
{
    const features f = features_here();
#define QK_OP(op, cls) tables[QK_SCALAR].op = qk_##op##_scalar;
#include "kernels/kernels.def"
#undef QK_OP
    tables[QK_SCALAR].name = levels[QK_SCALAR].name;
    present[QK_SCALAR] = true;
    for (int level = 1; level < QK_ISA_COUNT; level++) {
        const qk_isa upon = levels[level].upon;
        tables[level] = tables[upon];
        tables[level].name = levels[level].name;
        present[level] = present[upon] && has(f, levels[level].needs) &&
                         levels[level].override(&tables[level]);
    }
    for (in_use = cap(); !present[in_use]; in_use = levels[in_use].upon) {
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
    return (unsigned)level < QK_ISA_COUNT ? levels[level].name : "";
}
