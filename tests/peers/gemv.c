/* SPDX-License-Identifier: GPL-3.0-or-later */
/* gemv.c - packed matrices times a vector beside cblas_sgemv on the decoded floats. One matrix,
 * again and again, may stay in a cache that its 64 MiB of floats do not fit; then copies of it take
 * turns, so that both sides read weights from memory. Speeds are 10^9 products a second. */
#include <cblas.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/quant.h"
#include "tests/peers/peers.h"

enum { N = 4096, COPIES = 8 };

static const struct {
    const char *scheme;
    bool integers;
} variants[] = {{"int4:block=32", false}, {"lut4:group=32", false}, {"int4:block=32", true},
                {"lut4:group=32,lut=int8", true}};

static struct {
    quant_scheme scheme;
    quant_shape shape;
    quant_layout layout;
    bool integers;
    int turn, copies;
    float *w;
    unsigned char *packed[COPIES];
    float x[N], ours[N], theirs[N], scale;
    int8_t codes[N];
} data;

static void run_ours(void)
{
    const unsigned char *packed = data.packed[data.turn++ % data.copies];
    const quant_gemv_input x = {data.codes, &data.scale, 0};
    quant_status s = data.integers
        ? quant_gemv_s8(NULL, &data.scheme, &data.shape, packed, data.layout.bytes, &x, data.ours)
        : quant_gemv_f32(NULL, &data.scheme, &data.shape, packed, data.layout.bytes, data.x,
                         data.ours);
    if (s != QUANT_OK) {
        exit(6);
    }
}

static void run_theirs(void)
{
    cblas_sgemv(CblasRowMajor, CblasNoTrans, N, N, 1.0f, data.w, N, data.x, 1, 0.0f, data.theirs,
                1);
}

/* Largest difference of two elements of y over sum |w x| of its row. */
static double apart(void)
{
    double worst = 0;
    for (size_t r = 0; r < N; r++) {
        double size = 0;
        for (size_t i = 0; i < N; i++) {
            size += fabs((double)data.w[r * N + i] * (double)data.x[i]);
        }
        worst = fmax(worst, fabs((double)data.ours[r] - (double)data.theirs[r]) / size);
    }
    return worst;
}

/* Packed copies of w, and w decoded from them. */
static bool encode(const char *text)
{
    bool good = quant_scheme_parse(NULL, text, &data.scheme) == QUANT_OK &&
                quant_encode_layout(NULL, &data.scheme, &data.shape, &data.layout) == QUANT_OK;
    const size_t bytes = data.layout.bytes;
    for (int i = 0; good && i < data.copies; i++) {
        data.packed[i] = aligned_alloc(64, (bytes + 63) / 64 * 64);
        good = data.packed[i] && quant_encode(NULL, &data.scheme, &data.shape, data.w,
                                              data.packed[i], bytes, NULL) == QUANT_OK;
    }
    return good && quant_decode(NULL, &data.scheme, &data.shape, data.packed[0], bytes,
                                data.w) == QUANT_OK;
}

static peers_state begin(const peers_row *row)
{
    quant_random r = quant_random_stream(2, "gemv");
    data.shape = (quant_shape){2, {N, N}};
    data.integers = variants[row->variant / 2].integers;
    data.copies = row->variant % 2 ? COPIES : 1;
    data.scale = 0.01f;
    data.w = peers_weights((size_t)N * N, PEERS_F32);
    for (size_t i = 0; i < N; i++) {
        data.codes[i] = (int8_t)((int)quant_random_below(&r, i, 255) - 127);
        data.x[i] = data.scale * (float)data.codes[i];
    }
    if (!encode(variants[row->variant / 2].scheme)) {
        peers_say("it could not be encoded");
        return PEERS_WRONG;
    }
    openblas_set_num_threads(1);
    run_ours();
    run_theirs();
    double worst = apart();
    peers_say("OpenBLAS %s, within %.1e of sum |w x|", openblas_get_corename(), worst);
    return worst <= (N / 64 + 6 + N) * 0x1p-24 ? PEERS_READY : PEERS_WRONG; /* both bounds */
}

static double ours(void) { return peers_cpu_seconds(run_ours); }
static double theirs(void) { return peers_cpu_seconds(run_theirs); }

static void end(void)
{
    free(data.w);
    for (int i = 0; i < COPIES; i++) {
        free(data.packed[i]);
        data.packed[i] = NULL;
    }
}

#define GEMV_ROWS(what, target, i)                                                              \
    {"GEMV 4096^2 " what, "cblas_sgemv", "G/s", 1e-9 * N * N, target, 0, 2 * (i), begin, ours,  \
     theirs, end},                                                                              \
    {"  weights from memory", "cblas_sgemv", "G/s", 1e-9 * N * N, target, 0, 2 * (i) + 1,       \
     begin, ours, theirs, end}
const peers_row peers_gemv[] = {GEMV_ROWS("int4:block=32 x f32", 2.5, 0),
                                GEMV_ROWS("lut4:group=32 x f32", 2.5, 1),
                                GEMV_ROWS("int4:block=32 x int8", 5, 2),
                                GEMV_ROWS("lut4,lut=int8 x int8", 5, 3),
                                {0}};
