/* SPDX-License-Identifier: Apache-2.0 */
/* linear_strip.c - linear regions in batches that stay in the first-level cache: every weight comes
 * from memory once, is measured, and coded by the scale that came of it. The bytes are those of
 * fit and code (linear.c), region by region. */
#include <float.h>
#include <string.h>

#include "kernels/kernels.h"
#include "quant/codec.h"
#include "quant/linear_range.h"
#include "quant/store.h"

/* Elements of a batch: with its codes a quarter of a first-level cache. Regions of a batch: what
 * quant_store_load takes. */
enum { BATCH = QUANT_STEP / 2, MOST_REGIONS = 256 };

/* Regions of one length, one after the other, from element p of a matrix on; r is the first. */
typedef struct sequence {
    uint64_t p, n, block, r;
} sequence;

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Regions of a batch: together a multiple of 8 codes, so that a packed batch ends at a byte. */
static uint64_t batch_regions(uint64_t block, int bits)
{
    uint64_t eight = block % 8 == 0 || bits == 8 ? 1 : block % 4 == 0 ? 2 : block % 2 == 0 ? 4 : 8;
    uint64_t many = min_u64(BATCH / block, MOST_REGIONS) / eight * eight;
    return many ? many : eight;
}

/* Scales (and zero points) of m regions, n elements; false: failed, and said so. */
static bool fit_batch(const quant_job *job, sequence s, size_t m, float *scale,
                      quant_worker *worker)
{
    float lowest[MOST_REGIONS], highest[MOST_REGIONS];
    const float *x = job->w + s.p;
    size_t first = 0, bad = 0;
    quant_linear_many many = {0, false};
    if (job->scheme.asymmetric) {
        bad = qk()->nonfinite_f32(x, s.n, &first);
        qk()->minmax_blocks(x, s.n, s.block, lowest, highest);
    } else {
        qk()->absmax_blocks(x, s.n, s.block, highest);
        for (size_t k = 0; k < m; k++) {
            bad += highest[k] <= FLT_MAX ? 0 : 1;
        }
    }
    if (bad) {
        quant_worker_fail(worker, QUANT_ENONFINITE, s.r - s.r % job->regions.per_matrix);
        return false;
    }
    many = quant_linear_from_intervals(&job->scheme, lowest, highest, m, scale,
                                       job->zeros ? job->zeros + s.r : NULL);
    if (many.overflow) {
        quant_worker_fail(worker, QUANT_ESCALE, s.r);
        return false;
    }
    worker->raised_scales += many.raised;
    quant_store_save(job->scheme.store, job->packed + job->layout.scale.offset, s.r, m, scale);
    return true;
}

/* Codes that differ and codes that are zero points, region by region where these differ. */
static void note_batch(const quant_job *job, sequence s, const uint8_t *codes,
                       quant_worker *worker)
{
    uint64_t step = job->zeros ? s.block : s.n;
    for (uint64_t i = 0, r = s.r; i < s.n; i += step, r++) {
        quant_worker_note(worker, codes + i, min_u64(step, s.n - i),
                          job->zeros ? (uint8_t)job->zeros[r] : 0);
    }
}

/* A batch of more than one piece is one region, so that its pieces are blocks of the same scale. */
static void code_batch(const quant_job *job, sequence s, const float *scale, uint8_t *stream,
                       quant_worker *worker)
{
    uint8_t buffer[QUANT_PIECE];
    const unsigned bits = (unsigned)job->scheme.bits;
    qk_blocks b = {s.block, scale, job->zeros ? job->zeros + s.r : NULL, 0, 0, NULL};
    quant_linear_codes(&job->scheme, &b.lowest, &b.highest);
    for (uint64_t i = 0; i < s.n; i += QUANT_PIECE) {
        const size_t n = min_u64(QUANT_PIECE, s.n - i);
        uint8_t *codes = bits == 8 ? stream + i : buffer;
        const bool follows = job->regions.elements - s.p - s.n >= i + n;
        b.next = follows ? job->w + s.p + s.n + i : NULL; /* the next batch of the tensor */
        worker->saturated += qk()->encode_blocks(job->w + s.p + i, n, b, codes);
        if (worker->count) {
            note_batch(job, (sequence){s.p + i, n, s.block, s.r}, codes, worker);
        }
        if (bits != 8) {
            qk()->pack_codes(codes, n, bits, stream + i / 8 * bits);
        }
    }
}

/* Whole batches of the kernel that knows such regions from floats to codes, MOST_REGIONS of them at
 * most; returns how many elements. s.p counts from the tensor's first element. Scales go by way of
 * `half`: packed buffers have no alignment. */
static uint64_t code_at_once(const quant_job *job, sequence s, uint8_t *stream,
                             quant_worker *worker)
{
    const quant_scheme *scheme = &job->scheme;
    uint8_t codes[QUANT_PIECE];
    uint16_t half[MOST_REGIONS];
    qk_int4 g;
    if (scheme->bits != 4 || scheme->asymmetric || scheme->store != QUANT_STORE_F16 ||
        s.block != QK_INT4_BLOCK) {
        return 0;
    }
    quant_linear_plain(scheme, &g.steps, &g.least, &g.most);
    quant_linear_codes(scheme, &g.lowest, &g.highest);
    size_t outside;
    const size_t most = min_u64(s.n, (uint64_t)MOST_REGIONS * QK_INT4_BLOCK);
    const size_t done = qk()->encode_int4(job->w + s.p, most, g, half, stream, &outside);
    memcpy(job->packed + job->layout.scale.offset + s.r * sizeof *half, half,
           done / QK_INT4_BLOCK * sizeof *half);
    worker->saturated += outside;
    for (size_t i = 0; worker->count && i < done; i += QUANT_PIECE) {
        const size_t n = min_u64(QUANT_PIECE, done - i);
        qk()->unpack_signed(stream + i / 2, n, 4, codes);
        quant_worker_note(worker, codes, n, 0);
    }
    return done;
}

static bool code_sequence(const quant_job *job, uint64_t m, sequence s, quant_worker *worker)
{
    const uint64_t bits = (uint64_t)job->scheme.bits, base = m * job->regions.matrix;
    const uint64_t regions = batch_regions(s.block, job->scheme.bits);
    uint8_t *stream = job->packed + job->layout.codes.offset + m * quant_job_matrix_bytes(job);
    float scale[MOST_REGIONS];
    while (s.n) {
        const uint64_t done = code_at_once(job, (sequence){base + s.p, s.n, s.block, s.r},
                                           stream + s.p * bits / 8, worker);
        s = (sequence){s.p + done, s.n - done, s.block, s.r + done / s.block};
        if (done) {
            continue;
        }
        sequence part = {base + s.p, min_u64(regions * s.block, s.n), s.block, s.r};
        const size_t many = (size_t)(part.n / s.block + (part.n % s.block != 0));
        if (!fit_batch(job, part, many, scale, worker)) {
            return false;
        }
        code_batch(job, part, scale, stream + s.p * bits / 8, worker);
        s = (sequence){s.p + part.n, s.n - part.n, s.block, s.r + many};
    }
    return true;
}

bool quant_linear_strip(const quant_job *job, uint64_t m, uint64_t p, uint64_t n,
                        quant_worker *worker)
{
    const quant_regions *g = &job->regions;
    const bool even = g->length % g->block == 0;
    if (g->rows != 1 || job->scheme.rule != QUANT_SCALE_ABSMAX) {
        return false;
    }
    if (job->scheme.bits != 8 && ((!even && g->length % 8 != 0) ||
                                  (g->block > QUANT_PIECE / 8 && g->block % 8 != 0))) {
        return false; /* a batch would end inside of a byte, or be longer than a piece */
    }
    const uint64_t step = even ? n : g->length;
    for (uint64_t i = 0; i < n; i += step) {
        uint64_t r = m * g->per_matrix + (p + i) / g->length * g->blocks_per_channel;
        if (!code_sequence(job, m, (sequence){p + i, step, g->block, r}, worker)) {
            break;
        }
    }
    return true;
}

/* Scales and zero points of n regions from r on, as decode_blocks takes them. */
static qk_blocks load_blocks(const quant_job *job, uint64_t r, size_t n, float *scale,
                             int8_t *zero)
{
    qk_blocks b = {job->regions.block, scale, NULL, 0, 0, NULL};
    quant_store_load(job->scheme.store, job->source + job->layout.scale.offset, r, n, scale);
    if (job->scheme.asymmetric) {
        const unsigned bits = (unsigned)job->scheme.bits, lead = (unsigned)(r % 8);
        const uint8_t *stream = job->source + job->layout.zero.offset + r / 8 * bits;
        qk()->unpack_signed(stream, n + lead, bits, (uint8_t *)zero);
        b.zero = zero + lead;
    }
    return b;
}

/* How many of n elements from p on are of regions whose parameters are loaded at once, the first
 * of which is *r; 0 where p does not begin one. */
static uint64_t regions_at(const quant_job *job, uint64_t m, uint64_t p, uint64_t n, uint64_t *r)
{
    const quant_regions *g = &job->regions;
    if (!g->contiguous || g->rows != 1 || p % g->length % g->block != 0) {
        return 0;
    }
    *r = m * g->per_matrix + p / g->length * g->blocks_per_channel + p % g->length / g->block;
    n = g->length % g->block == 0 ? n : min_u64(n, g->length - p % g->length);
    return n / MOST_REGIONS < g->block ? n : MOST_REGIONS * g->block;
}

uint64_t quant_linear_values(const quant_job *job, uint64_t m, uint64_t p, uint64_t n,
                             const uint8_t *codes, float *y)
{
    float scale[MOST_REGIONS];
    int8_t zero[MOST_REGIONS + 8];
    uint64_t r, block = job->regions.block;
    n = regions_at(job, m, p, n, &r);
    if (n) {
        qk_decode_blocks_fn *decode = job->straight ? qk()->stream_blocks : qk()->decode_blocks;
        decode(codes, n, load_blocks(job, r, (n + block - 1) / block, scale, zero), y);
    }
    return n;
}

uint64_t quant_linear_packed(const quant_job *job, uint64_t m, uint64_t p, uint64_t n,
                             const uint8_t *stream, float *y)
{
    float scale[MOST_REGIONS];
    int8_t zero[MOST_REGIONS + 8];
    uint64_t r, block = job->regions.block;
    if (job->scheme.bits == 8 || block % 32 != 0 || job->regions.length % block != 0) {
        return 0;
    }
    n = regions_at(job, m, p, n, &r);
    if (n) {
        const qk_blocks b = load_blocks(job, r, (n + block - 1) / block, scale, zero);
        qk()->stream_packed(stream, n, (unsigned)job->scheme.bits, b, y);
    }
    return n;
}
