/* SPDX-License-Identifier: Apache-2.0 */
/* decode.c - layout of a packed buffer and the way back to floats. */
#include <stdatomic.h>
#include <string.h>

#include "kernels/kernels.h"
#include "quant/codec.h"
#include "quant/internal.h"
#include "quant/store.h"

const quant_codec *quant_job_codec(const quant_job *job)
{
    static const quant_codec *const rows[] = {
        [QUANT_FAMILY_FLOAT] = NULL,
        [QUANT_FAMILY_LINEAR] = &quant_linear_codec,
        [QUANT_FAMILY_CODEBOOK] = &quant_codebook_codec,
    };
    return job->scheme.dim > 1 ? &quant_vector_codec : rows[job->scheme.family];
}

void quant_worker_fail(quant_worker *worker, quant_status s, uint64_t region)
{
    if (region < worker->where) {
        worker->status = s;
        worker->where = region;
    }
}

/* How many of eight bytes are zero: a byte's top bit is set below exactly when it is not. */
static unsigned zero_bytes(uint64_t eight)
{
    const uint64_t low = UINT64_C(0x7f7f7f7f7f7f7f7f);
    return (unsigned)__builtin_popcountll(~(((eight & low) + low) | eight | low));
}

void quant_worker_note(quant_worker *worker, const uint8_t *codes, uint64_t n, uint8_t zero)
{
    const uint64_t zeros = UINT64_C(0x0101010101010101) * zero;
    uint8_t *seen = worker->seen;
    uint64_t i = 0, count = 0;
    for (; n - i >= 8; i += 8) {
        uint64_t eight;
        memcpy(&eight, codes + i, sizeof eight);
        count += zero_bytes(eight ^ zeros);
        seen[eight & 255] = 1;
        seen[eight >> 8 & 255] = 1;
        seen[eight >> 16 & 255] = 1;
        seen[eight >> 24 & 255] = 1;
        seen[eight >> 32 & 255] = 1;
        seen[eight >> 40 & 255] = 1;
        seen[eight >> 48 & 255] = 1;
        seen[eight >> 56] = 1;
    }
    for (; i < n; i++) {
        seen[codes[i]] = 1;
        count += codes[i] == zero;
    }
    worker->zero_codes += count;
}

quant_run quant_job_run(const quant_job *job, uint64_t m, uint64_t p, uint64_t limit)
{
    quant_run run = quant_regions_run(&job->regions, p, limit);
    run.region += m * job->regions.per_matrix;
    run.channel += m * job->regions.channels;
    return run;
}

uint64_t quant_job_matrix_bytes(const quant_job *job)
{
    uint64_t bits = job->codes * (uint64_t)job->scheme.bits;
    return bits / 8 + (bits % 8 != 0);
}

int32_t quant_zero_get(const uint8_t *stream, uint64_t r, int bits)
{
    uint64_t at = r * (uint64_t)bits;
    uint32_t word = stream[at / 8];
    if (at % 8 + (uint64_t)bits > 8) {
        word |= (uint32_t)stream[at / 8 + 1] << 8;
    }
    uint32_t code = word >> (at % 8) & ((1u << bits) - 1);
    return (int32_t)code - (code >> (bits - 1) ? 1 << bits : 0);
}

/* Append a segment at the next multiple of 8. All products are small multiples of an element
 * count below 2^62 / 16, checked by the caller. */
static void append(quant_layout *l, quant_segment *s, uint64_t count, uint64_t bytes)
{
    s->offset = (l->bytes + 7) / 8 * 8;
    s->bytes = (size_t)bytes;
    s->count = (size_t)count;
    l->bytes = s->offset + s->bytes;
    l->stored_bytes += s->bytes;
}

static void lay_out(quant_job *job)
{
    const quant_regions *g = &job->regions;
    const quant_scheme *s = &job->scheme;
    quant_layout *l = &job->layout;
    uint64_t bits = (uint64_t)s->bits;
    uint64_t codes = job->codes * g->matrices;
    append(l, &l->codes, codes, quant_job_matrix_bytes(job) * g->matrices);
    if (s->family == QUANT_FAMILY_LINEAR) {
        append(l, &l->scale, g->count, g->count * quant_store_bytes(s->store));
        if (s->asymmetric) {
            append(l, &l->zero, g->count, (g->count * bits + 7) / 8);
        }
    } else if (s->family == QUANT_FAMILY_CODEBOOK) {
        uint64_t entries = g->count * (uint64_t)s->dim << bits;
        uint64_t channels = g->matrices * g->channels;
        if (s->channel_scale) {
            append(l, &l->scale, channels, channels * quant_store_bytes(s->store));
        }
        append(l, &l->table, entries, entries * quant_store_bytes(s->table_store));
        if (s->table_store == QUANT_STORE_I8) {
            append(l, &l->table_scale, g->count, g->count * quant_store_bytes(s->store));
        }
    }
    l->bits_per_weight = 8.0 * (double)l->stored_bytes / (double)g->elements;
}

quant_status quant_job_make(quant_context *ctx, const quant_scheme *scheme,
                            const quant_shape *shape, quant_job *job)
{
    if (!scheme || !shape) {
        return quant_fail(ctx, QUANT_EINVAL, "scheme, shape: expected pointers, found NULL");
    }
    memset(job, 0, sizeof *job);
    job->ctx = ctx;
    job->scheme = *scheme;
    job->fit_threads = 1;
    QUANT_TRY(quant_regions_make(ctx, scheme, shape, &job->regions));
    /* The largest multiple of any segment: 256 vectors of 4 floats for each element. */
    if (job->regions.elements > (SIZE_MAX >> 14)) {
        return quant_fail(ctx, QUANT_EOVERFLOW,
                          "packed size: expected below 2^64 bytes, found %llu elements",
                          (unsigned long long)job->regions.elements);
    }
    if (job->regions.elements) {
        const quant_regions *g = &job->regions;
        uint64_t dim = (uint64_t)scheme->dim;
        job->codes = dim > 1 ? g->channels * ((g->length + dim - 1) / dim) : g->matrix;
        lay_out(job);
    }
    return QUANT_OK;
}

quant_status quant_encode_layout(quant_context *ctx, const quant_scheme *scheme,
                                 const quant_shape *shape, quant_layout *layout)
{
    quant_job job;
    if (!layout) {
        return quant_fail(ctx, QUANT_EINVAL, "layout: expected a pointer, found NULL");
    }
    QUANT_TRY(quant_job_make(ctx, scheme, shape, &job));
    *layout = job.layout;
    return QUANT_OK;
}

/* Codes are few bytes beside the values that they become: a prefetcher that is asked at their pace
 * comes late. The codes of the next step are asked for at once. */
static void ask_for(const quant_job *job, const uint8_t *stream, uint64_t bytes)
{
    const quant_segment s = job->layout.codes;
    const uint8_t *end = job->source + s.offset + s.bytes;
    for (uint64_t i = bytes; i < 2 * bytes && i < (uint64_t)(end - stream); i += 64) {
        __builtin_prefetch(stream + i);
    }
}

/* p is a multiple of 8, n at most QUANT_STEP. */
static void decode_step(const quant_job *job, uint64_t m, uint64_t p, uint64_t n, float *y)
{
    const quant_codec *codec = quant_job_codec(job);
    unsigned bits = (unsigned)job->scheme.bits;
    const uint8_t *stream = job->source + job->layout.codes.offset +
                            m * quant_job_matrix_bytes(job) + p / 8 * bits;
    if (!job->straight || (codec && bits != 8)) { /* stream_* ask for themselves */
        ask_for(job, stream, n / 8 * bits);
    }
    if (!codec) {
        quant_float16_value(job, stream, n, y);
        return;
    }
    uint8_t buffer[QUANT_STEP];
    const uint8_t *codes = stream;
    if (bits != 8) {
        qk_unpack_fn *unpack = codec->signed_codes ? qk()->unpack_signed : qk()->unpack_unsigned;
        unpack(stream, n, bits, buffer);
        codes = buffer;
    }
    for (uint64_t i = 0; i < n;) {
        uint64_t many = codec->values ? codec->values(job, m, p + i, n - i, codes + i, y + i) : 0;
        if (many) {
            i += many;
            continue;
        }
        quant_run run = quant_job_run(job, m, p + i, n - i);
        codec->value(job, run, codes + i, y + i);
        i += run.length;
    }
}

/* Packed codes that become values without a buffer between, if the family can; returns how many. */
static uint64_t decode_packed(const quant_job *job, uint64_t m, uint64_t p, uint64_t n, float *y)
{
    const quant_codec *codec = quant_job_codec(job);
    if (!job->straight || !codec || !codec->packed) {
        return 0;
    }
    const uint8_t *codes = job->source + job->layout.codes.offset + m * quant_job_matrix_bytes(job);
    return codec->packed(job, m, p, n, codes + p / 8 * (unsigned)job->scheme.bits, y);
}

/* The same as decode_step; a result that is not to stay in cache and not on its lines goes through
 * a buffer. */
static void decode_to(const quant_job *job, uint64_t m, uint64_t p, uint64_t n, float *y)
{
    if (job->stream && !job->straight) {
        float values[QUANT_STEP];
        decode_step(job, m, p, n, values);
        qk()->stream_f32(values, n, y);
    } else {
        decode_step(job, m, p, n, y);
    }
}

void quant_job_decode(const quant_job *job, uint64_t m, uint64_t p, uint64_t n, float *y)
{
    if (job->scheme.dim > 1) {
        quant_vector_decode(job, m, p, n, y);
        return;
    }
    uint64_t lead = p % 8; /* the stream is entered at a byte; spare values are thrown away */
    if (lead && n) {
        float head[8];
        uint64_t all = job->regions.matrix - (p - lead) < 8 ? job->regions.matrix - (p - lead) : 8;
        uint64_t take = all - lead < n ? all - lead : n;
        decode_step(job, m, p - lead, all, head);
        memcpy(y, head + lead, take * sizeof *y);
        p += take;
        y += take;
        n -= take;
    }
    while (n) {
        uint64_t take = decode_packed(job, m, p, n, y);
        if (!take) {
            take = n < QUANT_STEP ? n : QUANT_STEP;
            decode_to(job, m, p, take, y);
        }
        p += take;
        y += take;
        n -= take;
    }
}

/* Stores past the caches are weakly ordered: a thread that made some ends with this. */
static void end_stream(const quant_job *job)
{
    if (job->stream) {
        atomic_thread_fence(memory_order_seq_cst);
    }
}

static quant_status check_buffer(const quant_job *job, const void *packed, size_t bytes,
                                 const float *w)
{
    if (bytes != job->layout.bytes) {
        return quant_fail(job->ctx, bytes < job->layout.bytes ? QUANT_ETRUNC : QUANT_ETRAILING,
                          "packed: expected %zu bytes, found %zu", job->layout.bytes, bytes);
    }
    if (job->regions.elements && (!packed || !w)) {
        return quant_fail(job->ctx, QUANT_EINVAL, "packed, w: expected pointers, found NULL");
    }
    return QUANT_OK;
}

quant_status quant_decode_span(quant_context *ctx, const quant_scheme *scheme,
                               const quant_shape *shape, const void *packed, size_t bytes,
                               uint64_t first, uint64_t count, float *w)
{
    quant_job job;
    QUANT_TRY(quant_job_make(ctx, scheme, shape, &job));
    QUANT_TRY(check_buffer(&job, packed, bytes, w));
    uint64_t elements = job.regions.elements;
    if (first > elements || count > elements - first) {
        return quant_fail(ctx, QUANT_ERANGE,
                          "span: expected inside %llu elements, found %llu + %llu",
                          (unsigned long long)elements, (unsigned long long)first,
                          (unsigned long long)count);
    }
    job.source = packed;
    job.stream = count >= QUANT_STREAM;
    while (count) {
        uint64_t m = first / job.regions.matrix, p = first % job.regions.matrix;
        uint64_t n = job.regions.matrix - p < count ? job.regions.matrix - p : count;
        quant_job_decode(&job, m, p, n, w);
        first += n;
        count -= n;
        w += n;
    }
    end_stream(&job);
    return QUANT_OK;
}

quant_status quant_decode(quant_context *ctx, const quant_scheme *scheme, const quant_shape *shape,
                          const void *packed, size_t bytes, float *w)
{
    quant_job job;
    QUANT_TRY(quant_job_make(ctx, scheme, shape, &job));
    QUANT_TRY(check_buffer(&job, packed, bytes, w));
    if (job.regions.elements == 0) {
        return QUANT_OK;
    }
    job.source = packed;
    job.stream = job.regions.elements >= QUANT_STREAM;
    job.straight = job.stream && (uintptr_t)w % 64 == 0 && job.regions.matrix % 16 == 0;
    uint64_t pieces = job.regions.matrix / QUANT_PIECE + (job.regions.matrix % QUANT_PIECE != 0);
    int threads = job.regions.elements < QUANT_SMALL ? 1 : quant_context_threads(ctx);
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
#pragma omp for schedule(dynamic, 16) nowait
        for (int64_t t = 0; t < (int64_t)(pieces * job.regions.matrices); t++) {
            uint64_t m = (uint64_t)t / pieces, p = (uint64_t)t % pieces * QUANT_PIECE;
            uint64_t left = job.regions.matrix - p;
            quant_job_decode(&job, m, p, left < QUANT_PIECE ? left : QUANT_PIECE,
                             w + m * job.regions.matrix + p);
        }
        end_stream(&job);
    }
    return QUANT_OK;
}
