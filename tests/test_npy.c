/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_npy.c - arrays of any shape, order and byte order, in pieces. */
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/bank/bank.h"
#include "tests/bytes.h"
#include "tests/test.h"

static quant_context *ctx;

static void begin(void)
{
    ctx = quant_context_new(NULL);
}

static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

typedef struct npy_case {
    int rank, kind; /* of kinds[] */
    uint64_t dim[4], elements;
    bool fortran, big;
} npy_case;

static const struct {
    const char *code;
    size_t size;
} kinds[] = {{"f2", 2}, {"f4", 4}, {"f8", 8}};

/* Small integers, exact in all three types: position modulo 2000. */
static void put_value(bytes *b, int kind, bool big, uint64_t position)
{
    double v = (double)(position % 2000);
    float f = (float)v;
    unsigned char at[8];
    uint64_t bits = 0;
    uint32_t bits32;
    int exponent;
    double m = frexp(v, &exponent);
    memcpy(&bits32, &f, 4);
    memcpy(&bits, &v, 8);
    bits = kind == 0
               ? (v > 0 ? ((uint64_t)(exponent + 14) << 10) + (uint64_t)ldexp(m, 11) - 1024 : 0)
           : kind == 1 ? bits32
                       : bits;
    size_t n = kinds[kind].size;
    for (size_t i = 0; i < n; i++) {
        at[big ? n - 1 - i : i] = (unsigned char)(bits >> 8 * i);
    }
    bytes_add(b, at, n);
}

/* Row-major position of the f-th element as the file has it. */
static uint64_t position_of(const npy_case *c, uint64_t f)
{
    uint64_t index[4], position = 0;
    if (!c->fortran) {
        return f;
    }
    for (int a = 0; a < c->rank; a++) {
        index[a] = f % c->dim[a];
        f /= c->dim[a];
    }
    for (int a = 0; a < c->rank; a++) {
        position = position * c->dim[a] + index[a];
    }
    return position;
}

static quant_bank *make_npy(npy_case *c)
{
    char literal[200];
    bytes b = {NULL, 0, 0};
    int n = snprintf(literal, sizeof literal, "{'descr': '%c%s', 'fortran_order': %s, 'shape': (",
                     c->big ? '>' : '<', kinds[c->kind].code, c->fortran ? "True" : "False");
    c->elements = 1;
    for (int a = 0; a < c->rank; a++) {
        n += snprintf(literal + n, sizeof literal - (size_t)n, "%d, ", (int)c->dim[a]);
        c->elements *= c->dim[a];
    }
    n += snprintf(literal + n, sizeof literal - (size_t)n, "), }");
    bytes_npy(&b, 1, 0, literal, (size_t)n, 0);
    for (uint64_t f = 0; f < c->elements; f++) {
        put_value(&b, c->kind, c->big, position_of(c, f));
    }
    return bytes_open(ctx, &b);
}

/* Elements [first, first+count) as float and as double; true when all are right. */
static bool reads_well(const npy_case *c, quant_bank *bank, uint64_t first, uint64_t count)
{
    float *f = malloc((count + 1) * sizeof *f);
    double *d = malloc((count + 1) * sizeof *d);
    f[count] = -1;
    d[count] = -1;
    bool ok = quant_bank_read_f32(ctx, bank, 0, first, count, f) == QUANT_OK &&
              quant_bank_read_f64(ctx, bank, 0, first, count, d) == QUANT_OK;
    for (uint64_t i = 0; ok && i < count; i++) {
        double want = (double)((first + i) % 2000);
        ok = (double)f[i] == want && d[i] == want;
    }
    ok = ok && f[count] == -1 && d[count] == -1 &&
         quant_bank_tensor(bank, 0)->elements == c->elements;
    free(f);
    free(d);
    return ok;
}

static void npy_of_any_order(void)
{
    begin();
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        uint64_t state = test_seed() + k;
        npy_case c = {.rank = (int)(next_random(&state) % 5),
                      .kind = (int)(next_random(&state) % 3)};
        for (int a = 0; a < c.rank; a++) {
            c.dim[a] = next_random(&state) % (k % 16 ? 9 : 1 + 60 / (uint64_t)c.rank);
        }
        c.fortran = next_random(&state) & 1;
        c.big = next_random(&state) & 1;
        quant_bank *bank = make_npy(&c);
        uint64_t first = next_random(&state) % (c.elements + 1);
        uint64_t count = next_random(&state) % (c.elements - first + 1);
        bool ok = bank && reads_well(&c, bank, 0, c.elements) && reads_well(&c, bank, first, count);
        CU_ASSERT(ok);
        if (!ok) {
            test_failed_case(k, "rank %d, kind %d, fortran %d, big %d, [%d, +%d)", c.rank, c.kind,
                             c.fortran, c.big, (int)first, (int)count);
        }
        quant_bank_close(ctx, bank);
    }
    quant_context_free(ctx);
}

static void a_missing_newline_is_noted(void)
{
    begin();
    bytes b = {NULL, 0, 0};
    const char *literal = "{'descr':'|u1','fortran_order':False,'shape':()}";
    bytes_assemble(&b, "b:0x93 r:NUMPY b:1 b:0 w:48");
    bytes_add(&b, literal, strlen(literal));
    bytes_zero(&b, 1);
    quant_bank *bank = bytes_open(ctx, &b);
    CU_ASSERT_STRING_EQUAL(quant_bank_note(bank, 0), "the header does not end in a newline");
    quant_bank_close(ctx, bank);
    quant_context_free(ctx);
}

/* Across the pieces in which files are read: 8192 elements. */
static void npy_larger_than_a_piece(void)
{
    static const uint64_t dims[][3] = {{8191, 3, 1}, {8192, 2, 1}, {8193, 3, 1}, {20000, 2, 2},
                                       {3, 9000, 1}, {100, 200, 3}, {1, 8193, 5}, {40000, 1, 1}};
    begin();
    for (size_t i = 0; i < sizeof dims / sizeof *dims; i++) {
        for (int order = 0; order < 2; order++) {
            npy_case c = {.rank = 3, .kind = (int)(i % 3), .fortran = order, .big = i % 2 != 0};
            memcpy(c.dim, dims[i], sizeof dims[i]);
            quant_bank *bank = make_npy(&c);
            CU_ASSERT(reads_well(&c, bank, 0, c.elements));
            CU_ASSERT(reads_well(&c, bank, c.elements / 3, c.elements / 2));
            CU_ASSERT(reads_well(&c, bank, c.elements - 1, 1));
            quant_bank_close(ctx, bank);
        }
    }
    quant_context_free(ctx);
}

static void npy_is_called_like_its_file(void)
{
    static const char *const names[][2] = {{"weights.npy", "weights"},
                                           {"weights", "weights"},
                                           {".npy", ".npy"},
                                           {"a\xff.npy", "array"}};
    begin();
    for (size_t i = 0; i < 4; i++) {
        bytes b = {NULL, 0, 0};
        const char *literal = "{'descr': '|u1', 'fortran_order': True, 'shape': (2, 3)}";
        bytes_npy(&b, 2, 0, literal, strlen(literal), 6);
        quant_bank *bank = bytes_open_path(ctx, bytes_save(&b, names[i][0]));
        bytes_free(&b);
        CU_ASSERT_STRING_EQUAL(quant_bank_tensor(bank, 0)->name, names[i][1]);
        CU_ASSERT_STRING_EQUAL(quant_bank_tensor(bank, 0)->dtype_text, "|u1");
        CU_ASSERT_EQUAL(quant_bank_tensor(bank, 0)->dtype, QUANT_U8);
        CU_ASSERT_EQUAL(quant_bank_tensor(bank, 0)->shape.dim[0], 2);
        CU_ASSERT_STRING_EQUAL(quant_bank_format(bank), "npy");
        quant_bank_close(ctx, bank);
    }
    quant_context_free(ctx);
}

TEST_SUITE(npy,
           {"any shape, order and byte order", npy_of_any_order},
           {"larger than a piece", npy_larger_than_a_piece},
           {"a missing newline is noted", a_missing_newline_is_noted},
           {"an array is called like its file", npy_is_called_like_its_file})
