/* SPDX-License-Identifier: GPL-3.0-or-later */
/* gemm.c - int8 products beside oneDNN's matmul primitive, weights reordered beforehand on both
 * sides: ours by quant_gemm_s8_pack, theirs into the format that the primitive asks for. Speeds are
 * 10^9 products a second. */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/quant.h"
#include "tests/peers/peers.h"

#if defined(__has_include)
#if __has_include(<dnnl.h>)
#include <dnnl.h>
#endif
#endif
#if defined(DNNL_VERSION_MAJOR) && DNNL_VERSION_MAJOR == 2
#define HAVE_ONEDNN 1
#endif

static struct {
    size_t m, n, k, bytes;
    int8_t *a, *w;
    uint8_t *packed;
    int32_t *ours, *theirs;
} data;

static void *room(size_t bytes)
{
    void *p = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!p) {
        perror("peers");
        exit(6);
    }
    return memset(p, 0, bytes);
}

static void run_ours(void)
{
    if (quant_gemm_s8(NULL, data.m, data.a, data.packed, data.bytes, data.ours) != QUANT_OK) {
        exit(6);
    }
}

#if defined(HAVE_ONEDNN)
static struct {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_primitive_t product;
    dnnl_exec_arg_t args[3];
} peer;

static void must(dnnl_status_t s)
{
    if (s != dnnl_success) {
        fprintf(stderr, "peers: oneDNN status %d\n", (int)s);
        exit(6);
    }
}

static dnnl_memory_t memory_of(const dnnl_memory_desc_t *d, void *at)
{
    dnnl_memory_t m;
    must(dnnl_memory_create(&m, d, peer.engine, at));
    return m;
}

/* w[n][k] into the layout that the primitive wants. */
static void reorder(dnnl_memory_t from, const dnnl_memory_desc_t *d, dnnl_memory_t to,
                    const dnnl_memory_desc_t *wanted)
{
    dnnl_primitive_desc_t desc;
    dnnl_primitive_t p;
    dnnl_exec_arg_t args[2] = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}};
    must(dnnl_reorder_primitive_desc_create(&desc, d, peer.engine, wanted, peer.engine, NULL));
    must(dnnl_primitive_create(&p, desc));
    must(dnnl_primitive_execute(p, peer.stream, 2, args));
    must(dnnl_stream_wait(peer.stream));
    dnnl_primitive_destroy(p);
    dnnl_primitive_desc_destroy(desc);
}

static void run_theirs(void)
{
    must(dnnl_primitive_execute(peer.product, peer.stream, 3, peer.args));
    must(dnnl_stream_wait(peer.stream));
}

static void prepare_theirs(char *name, size_t bytes)
{
    const int64_t m = (int64_t)data.m, n = (int64_t)data.n, k = (int64_t)data.k;
    dnnl_dims_t da = {m, k}, dw = {k, n}, dc = {m, n}, across = {1, k};
    dnnl_memory_desc_t a, w, any, c;
    dnnl_matmul_desc_t desc;
    dnnl_primitive_desc_t pd;
    const char *info = "";
    must(dnnl_engine_create(&peer.engine, dnnl_cpu, 0));
    must(dnnl_stream_create(&peer.stream, peer.engine, dnnl_stream_default_flags));
    must(dnnl_memory_desc_init_by_tag(&a, 2, da, dnnl_s8, dnnl_ab));
    must(dnnl_memory_desc_init_by_strides(&w, 2, dw, dnnl_s8, across));
    must(dnnl_memory_desc_init_by_tag(&any, 2, dw, dnnl_s8, dnnl_format_tag_any));
    must(dnnl_memory_desc_init_by_tag(&c, 2, dc, dnnl_s32, dnnl_ab));
    must(dnnl_matmul_desc_init(&desc, &a, &any, NULL, &c));
    must(dnnl_primitive_desc_create(&pd, &desc, NULL, peer.engine, NULL));
    must(dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, &info));
    const dnnl_memory_desc_t *wanted = dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0);
    dnnl_memory_t weights = memory_of(wanted, DNNL_MEMORY_ALLOCATE);
    reorder(memory_of(&w, data.w), &w, weights, wanted);
    must(dnnl_primitive_create(&peer.product, pd));
    peer.args[0] = (dnnl_exec_arg_t){DNNL_ARG_SRC, memory_of(&a, data.a)};
    peer.args[1] = (dnnl_exec_arg_t){DNNL_ARG_WEIGHTS, weights};
    peer.args[2] = (dnnl_exec_arg_t){DNNL_ARG_DST, memory_of(&c, data.theirs)};
    snprintf(name, bytes, "oneDNN %d.%d.%d %s", dnnl_version()->major, dnnl_version()->minor,
             dnnl_version()->patch, info);
}
#else
static void run_theirs(void) {}
#endif

static peers_state begin(const peers_row *row)
{
    data.m = row->variant == 1 ? 1 : 1024;
    data.n = data.k = row->variant == 1 ? 4096 : 1024;
    data.a = room(data.m * data.k);
    data.w = room(data.n * data.k);
    data.ours = room(data.m * data.n * sizeof *data.ours);
    data.theirs = room(data.m * data.n * sizeof *data.theirs);
    quant_random r = quant_random_stream(1, "gemm");
    for (size_t i = 0; i < data.n * data.k; i++) {
        uint64_t word = quant_random_below(&r, i, 65536);
        data.w[i] = (int8_t)word;
        if (i < data.m * data.k) {
            data.a[i] = (int8_t)(word >> 8);
        }
    }
    if (quant_gemm_s8_layout(NULL, data.n, data.k, &data.bytes) != QUANT_OK) {
        return PEERS_WRONG;
    }
    data.packed = room(data.bytes);
    if (quant_gemm_s8_pack(NULL, data.n, data.k, data.w, data.packed, data.bytes) != QUANT_OK) {
        return PEERS_WRONG;
    }
#if defined(HAVE_ONEDNN)
    char name[64];
    omp_set_num_threads(1);
    prepare_theirs(name, sizeof name);
    run_ours();
    run_theirs();
    bool equal = memcmp(data.ours, data.theirs, data.m * data.n * sizeof *data.ours) == 0;
    peers_say("%s, %s", name, equal ? "same integers" : "other integers");
    return equal ? PEERS_READY : PEERS_WRONG;
#else
    peers_say("built without oneDNN 2 (libdnnl-dev: make deps-extra)");
    return PEERS_SKIP;
#endif
}

static double ours(void) { return peers_cpu_seconds(run_ours); }
static double theirs(void) { return peers_cpu_seconds(run_theirs); }

static void end(void)
{
    free(data.a);
    free(data.w);
    free(data.packed);
    free(data.ours);
    free(data.theirs);
}

const peers_row peers_gemm[] = {
    {"int8 x int8 -> int32, 1024^3", "oneDNN matmul", "G/s", 1.073741824, 0.8, 1.0, 0, begin,
     ours, theirs, end},
    {"int8 x int8 -> int32, 4096^2 GEMV", "oneDNN matmul", "G/s", 0.016777216, 1.0, 0, 1,
     begin, ours, theirs, end},
    {0}};
