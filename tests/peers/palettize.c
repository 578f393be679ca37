/* SPDX-License-Identifier: GPL-3.0-or-later */
/* palettize.c - whole encodes: beside coremltools' grouped compressor (one worker, an f16 array,
 * so that it takes kmeans1d; peer_coremltools.py), and two threads beside one. */
#include <stdio.h>
#include <stdlib.h>

#include "quant/quant.h"
#include "tests/peers/peers.h"

enum { SMALL = 8, LARGE = 64, GROUP = 32, COLS = 704 };

static struct {
    quant_scheme scheme;
    quant_shape shape;
    quant_layout layout;
    quant_context *one, *two;
    float *w;
    void *packed;
    peers_worker worker;
} data;

static void encode_with(quant_context *ctx)
{
    if (quant_encode(ctx, &data.scheme, &data.shape, data.w, data.packed, data.layout.bytes,
                     NULL) != QUANT_OK) {
        fprintf(stderr, "peers: %s\n", quant_context_message(ctx));
        exit(6);
    }
}

static void encode_one(void) { encode_with(data.one); }
static void encode_two(void) { encode_with(data.two); }

static peers_state prepare(const char *scheme, size_t groups)
{
    data.shape = (quant_shape){2, {groups * GROUP, COLS}};
    data.one = quant_context_new(NULL);
    data.two = quant_context_new(NULL);
    quant_context_set_threads(data.two, 2);
    data.w = peers_weights(groups * GROUP * COLS, PEERS_F16);
    if (!data.one || !data.two ||
        quant_scheme_parse(data.one, scheme, &data.scheme) != QUANT_OK ||
        quant_encode_layout(data.one, &data.scheme, &data.shape, &data.layout) != QUANT_OK ||
        !(data.packed = malloc(data.layout.bytes))) {
        peers_say("%s", quant_context_message(data.one));
        return PEERS_WRONG;
    }
    encode_two();
    return PEERS_READY;
}

/* Sum of squared errors of what is packed. */
static double our_sse(size_t n)
{
    float *y = malloc(n * sizeof *y);
    double sse = 0;
    if (!y || quant_decode(data.one, &data.scheme, &data.shape, data.packed, data.layout.bytes,
                           y) != QUANT_OK) {
        exit(6);
    }
    for (size_t i = 0; i < n; i++) {
        sse += ((double)y[i] - (double)data.w[i]) * ((double)y[i] - (double)data.w[i]);
    }
    free(y);
    return sse;
}

static int save(const char *path, size_t n)
{
    FILE *f = fopen(path, "wb");
    int good = f && fwrite(data.w, sizeof *data.w, n, f) == n;
    return f && fclose(f) == 0 && good;
}

static peers_state begin_coremltools(const peers_row *row)
{
    static const char path[] = "build/peers/stack.f32";
    const char *python = getenv("PEERS_PYTHON");
    const char *argv[] = {python, "tests/peers/peer_coremltools.py", path, "704", NULL};
    size_t n = (size_t)SMALL * GROUP * COLS;
    (void)row;
    peers_state state = prepare("lut4:group=32", SMALL);
    double theirs = 0;
    if (state != PEERS_READY) {
        return state;
    }
    if (!python || !*python || !save(path, n) || !peers_worker_start(&data.worker, argv) ||
        !peers_worker_ask(&data.worker, "sse", &theirs)) {
        peers_say("no coremltools");
        return PEERS_SKIP;
    }
    double ours = our_sse(n);
    peers_say("SSE %.6e, theirs %.6e", ours, theirs);
    return ours <= theirs * (1 + 1e-9) ? PEERS_READY : PEERS_WRONG;
}

static peers_state begin_threads(const peers_row *row)
{
    return row->variant ? prepare("int8:channel", 16 * LARGE) : prepare("lut4:group=32", LARGE);
}

static double cpu_one(void) { return peers_cpu_seconds(encode_one); }
static double seconds_one(void) { return peers_seconds(encode_one); }
static double seconds_two(void) { return peers_seconds(encode_two); }

static double seconds_coremltools(void)
{
    double seconds = 0;
    if (!peers_worker_ask(&data.worker, "run", &seconds)) {
        fprintf(stderr, "peers: coremltools stopped\n");
        exit(5);
    }
    return seconds;
}

static void end(void)
{
    peers_worker_stop(&data.worker);
    quant_context_free(data.one);
    quant_context_free(data.two);
    free(data.w);
    free(data.packed);
    data.packed = NULL;
}

const peers_row peers_palettize[] = {
    {"lut4:group=32 of a stack from f16", "coremltools, 1 worker", "Mw/s",
     1e-6 * SMALL * GROUP * COLS, 60, 100, 0, begin_coremltools, cpu_one, seconds_coremltools,
     end},
    {"lut4:group=32 from f16, two threads", "one thread", "Mw/s", 1e-6 * LARGE * GROUP * COLS, 1.8,
     0, 0, begin_threads, seconds_two, seconds_one, end},
    {"int8:channel, two threads", "one thread", "Mw/s", 16e-6 * LARGE * GROUP * COLS, 1.3, 0, 1,
     begin_threads, seconds_two, seconds_one, end},
    {0}};
