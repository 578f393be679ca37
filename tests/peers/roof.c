/* SPDX-License-Identifier: GPL-3.0-or-later */
/* roof.c - linear encode, decode and fidelity beside the memory itself: a loop that only reads the
 * same floats, and memset of the result. Tensors of 64 MiB, more than a last-level cache holds. The
 * ratio is the share of that speed; what two threads gain is measured by the wall clock. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/quant.h"
#include "tests/bench/bench.h"
#include "tests/peers/peers.h"

enum { ROWS = 4096, COLS = 4096, COUNT = ROWS * COLS };

static const char *const schemes[] = {
    "int8:channel", "int4:block=32", "int3:block=32", "int4:block=32,asym", "f16", "bf16",
    "lut4:group=32,mode=uniform", "lut3:group=32,mode=uniform", "lut8:group=32,mode=uniform",
};
enum { INT8, INT4, INT3, ASYM, F16, BF16, LUT4, LUT3, LUT8 };

static struct {
    float *w, *y;
    uint8_t *packed;
    quant_scheme scheme;
    quant_layout layout;
    quant_context *pair; /* of two threads */
} data;
static volatile uint64_t sink;

static const quant_shape shape = {2, {ROWS, COLS}};

static quant_status encode(quant_context *ctx)
{
    return quant_encode(ctx, &data.scheme, &shape, data.w, data.packed, data.layout.bytes, NULL);
}

static peers_state begin(const peers_row *row)
{
    data.w = peers_weights(COUNT, PEERS_F32);
    data.y = aligned_alloc(64, COUNT * sizeof *data.y);
    if (!data.y || !(data.pair = quant_context_new(NULL)) ||
        quant_scheme_parse(NULL, schemes[row->variant], &data.scheme) != QUANT_OK ||
        quant_encode_layout(NULL, &data.scheme, &shape, &data.layout) != QUANT_OK ||
        !(data.packed = malloc(data.layout.bytes)) || encode(NULL) != QUANT_OK) {
        peers_say("no memory or no such scheme");
        return PEERS_WRONG;
    }
    quant_context_set_threads(data.pair, 2);
    peers_say("%s kernels", quant_isa());
    return quant_decode(NULL, &data.scheme, &shape, data.packed, data.layout.bytes, data.y) ==
                   QUANT_OK
               ? PEERS_READY
               : PEERS_WRONG;
}

static void run_encode(void) { encode(NULL); }
static void run_encode_pair(void) { encode(data.pair); }
static void run_decode(void)
{
    quant_decode(NULL, &data.scheme, &shape, data.packed, data.layout.bytes, data.y);
}
static void run_fidelity(void) { sink = quant_fidelity_f32(NULL, data.w, data.y, COUNT).n; }
static void run_read(void) { sink = bench_read(data.w, COUNT); }
static void run_read_both(void) { sink = bench_read(data.w, COUNT) ^ bench_read(data.y, COUNT); }
static void run_set(void) { memset(data.y, 1, COUNT * sizeof *data.y); }

static double encode_one(void) { return peers_cpu_seconds(run_encode); }
static double decode_one(void) { return peers_cpu_seconds(run_decode); }
static double fidelity_one(void) { return peers_cpu_seconds(run_fidelity); }
static double read_one(void) { return peers_cpu_seconds(run_read); }
static double read_both(void) { return peers_cpu_seconds(run_read_both); }
static double set_one(void) { return peers_cpu_seconds(run_set); }
static double encode_alone(void) { return peers_seconds(run_encode); }
static double encode_pair(void) { return peers_seconds(run_encode_pair); }

static void end(void)
{
    quant_context_free(data.pair);
    free(data.w), free(data.y), free(data.packed);
    memset(&data, 0, sizeof data);
}

#define ENCODE(text, which)                                                                    \
    {"encode " text " from f32", "reading", "Mw/s", 1e-6 * COUNT, 0.6, 0, which, begin,        \
     encode_one, read_one, end}
#define DECODE(text, which)                                                                    \
    {"decode " text " to f32", "memset", "Mw/s", 1e-6 * COUNT, 0.9, 0, which, begin,           \
     decode_one, set_one, end}
const peers_row peers_roof[] = {
    ENCODE("int8:channel", INT8),
    ENCODE("int4:block=32", INT4),
    {"two threads, int8:channel encode", "one thread", "Mw/s", 1e-6 * COUNT, 1.3, 0, INT8, begin,
     encode_pair, encode_alone, end},
    {"two threads, int4:block=32 encode", "one thread", "Mw/s", 1e-6 * COUNT, 1.3, 0, INT4, begin,
     encode_pair, encode_alone, end},
    DECODE("int8:channel", INT8),
    DECODE("int4:block=32", INT4),
    DECODE("int4:block=32,asym", ASYM),
    DECODE("int3:block=32", INT3),
    DECODE("lut8:group=32", LUT8),
    DECODE("lut4:group=32", LUT4),
    DECODE("lut3:group=32", LUT3),
    DECODE("f16", F16),
    DECODE("bf16", BF16),
    {"fidelity of two f32 arrays", "reading both", "GB/s", 8e-9 * COUNT, 0.8, 0, INT4, begin,
     fidelity_one, read_both, end},
    {0},
};
