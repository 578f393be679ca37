/* SPDX-License-Identifier: Apache-2.0 */
/* encode.c - walk a tensor: fit every region, then turn runs into packed codes.
 *
 * The work is a list of tasks that depends on shape and scheme only. Where regions are whole rows
 * (contiguous, finer than the tensor) a task is a strip of rows whose regions are fitted and coded
 * while they are in cache. Otherwise all regions are fitted first, then pieces are coded. Pieces
 * begin at multiples of 8 codes, so tasks never share a byte. */
#include "quant/encode.h"

#include <float.h>
#include <omp.h>
#include <string.h>

#include "kernels/kernels.h"
#include "quant/codec.h"
#include "quant/internal.h"
#include "quant/scheme_options.h"

/* Tasks of one phase, `per_matrix` of them a matrix: check that values are finite, fit `regions`
 * regions, code `elements` elements (of a vector codebook: codes); 0 leaves a step out. */
typedef struct phase {
    uint64_t per_matrix;
    uint64_t regions;
    uint64_t elements;
    bool check, code;
} phase;

/* All workers of a call and their scratch. */
typedef struct crew {
    quant_worker *workers;
    int threads;
    size_t region_bytes, importance_bytes, work_bytes;
} crew;

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t ceil_div(uint64_t a, uint64_t b)
{
    return a / b + (a % b != 0);
}

static uint64_t gcd(uint64_t a, uint64_t b)
{
    while (b) {
        uint64_t r = a % b;
        a = b;
        b = r;
    }
    return a;
}

static void fit_regions(const quant_job *job, uint64_t first, uint64_t last, quant_worker *worker)
{
    const quant_codec *codec = quant_job_codec(job);
    for (uint64_t r = first; r < last; r++) {
        const float *x = quant_region_values(&job->regions, r, job->w, worker->region);
        quant_status s =
            codec->fit(job, r, x, quant_region_elements(&job->regions, r), worker);
        if (s != QUANT_OK) {
            quant_worker_fail(worker, s, r);
            return;
        }
    }
}

/* Codes of one piece of a matrix, packed to their place. */
static void code_piece(const quant_job *job, uint64_t m, uint64_t p, uint64_t n,
                       quant_worker *worker)
{
    const quant_codec *codec = quant_job_codec(job);
    unsigned bits = (unsigned)job->scheme.bits;
    const float *x = job->w + m * job->regions.matrix + p;
    uint8_t *stream = job->packed + job->layout.codes.offset + m * quant_job_matrix_bytes(job) +
                      p / 8 * bits;
    if (!codec) {
        quant_float16_code(job, x, n, stream, worker);
        return;
    }
    uint8_t buffer[QUANT_PIECE];
    uint8_t *codes = bits == 8 ? stream : buffer;
    for (uint64_t i = 0; i < n;) {
        quant_run run = quant_job_run(job, m, p + i, n - i);
        codec->code(job, run, x + i, codes + i, worker);
        i += run.length;
    }
    if (bits != 8) {
        qk()->pack_codes(codes, n, bits, stream);
    }
}

static void run_task(const quant_job *job, phase ph, uint64_t t, quant_worker *worker)
{
    const quant_regions *g = &job->regions;
    uint64_t m = t / ph.per_matrix, k = t % ph.per_matrix;
    bool vectors = ph.code && job->scheme.dim > 1;
    uint64_t p = k * ph.elements;
    uint64_t end = min_u64(p + ph.elements, vectors ? job->codes : g->matrix);
    size_t ignored;
    const quant_codec *codec = quant_job_codec(job);
    if (ph.regions && ph.code && codec->strip && codec->strip(job, m, p, end - p, worker)) {
        return;
    }
    if (ph.check && qk()->nonfinite_f32(job->w + m * g->matrix + p, end - p, &ignored)) {
        quant_worker_fail(worker, QUANT_ENONFINITE, m * g->per_matrix);
        return;
    }
    if (ph.regions) {
        uint64_t first = k * ph.regions, last = min_u64(first + ph.regions, g->per_matrix);
        fit_regions(job, m * g->per_matrix + first, m * g->per_matrix + last, worker);
    }
    for (; ph.code && p < end && worker->status == QUANT_OK; p += QUANT_PIECE) {
        uint64_t n = min_u64(QUANT_PIECE, end - p);
        (vectors ? quant_vector_code : code_piece)(job, m, p, n, worker);
    }
}

/* A failure does not stop the others: the first region in order decides what is reported,
 * whatever the schedule was. */
static quant_status run_phase(const quant_job *job, phase ph, crew *c)
{
    int64_t tasks = (int64_t)(ph.per_matrix * job->regions.matrices);
    int threads = job->fit_threads > 1 && ph.regions && !ph.code ? 1 : c->threads;
#pragma omp parallel for num_threads(threads) schedule(dynamic) if (threads > 1)
    for (int64_t t = 0; t < tasks; t++) {
        run_task(job, ph, (uint64_t)t, &c->workers[omp_get_thread_num()]);
    }
    quant_status status = QUANT_OK;
    uint64_t where = UINT64_MAX;
    for (int i = 0; i < threads; i++) {
        if (c->workers[i].status != QUANT_OK && c->workers[i].where < where) {
            status = c->workers[i].status;
            where = c->workers[i].where;
        }
    }
    return status;
}

/* Rows of a strip: whole regions, a multiple of 8 codes, and about one piece of elements. */
static uint64_t strip_rows(const quant_regions *g)
{
    uint64_t eight = 8 / gcd(8, g->length);
    uint64_t unit = g->rows / gcd(g->rows, eight) * eight;
    return unit * ceil_div(QUANT_PIECE, unit * g->length);
}

static quant_status run_phases(quant_job *job, crew *c)
{
    const quant_regions *g = &job->regions;
    uint64_t pieces = ceil_div(g->matrix, QUANT_PIECE);
    if (job->scheme.family == QUANT_FAMILY_FLOAT) {
        return run_phase(job, (phase){pieces, 0, QUANT_PIECE, false, true}, c);
    }
    if (g->contiguous && g->rows < g->channels && job->scheme.dim == 1) {
        uint64_t rows = strip_rows(g);
        phase fused = {ceil_div(g->channels, rows), rows / g->rows * g->blocks_per_channel,
                       rows * g->length, true, true};
        return run_phase(job, fused, c);
    }
    uint64_t together = ceil_div(QUANT_PIECE, quant_region_most(g));
    job->fit_threads = g->count < 4 * (uint64_t)c->threads ? c->threads : 1;
    QUANT_TRY(run_phase(job, (phase){pieces, 0, QUANT_PIECE, true, false}, c));
    phase fit = {ceil_div(g->per_matrix, together), together, 0, false, false};
    QUANT_TRY(run_phase(job, fit, c));
    pieces = ceil_div(job->codes, QUANT_PIECE);
    return run_phase(job, (phase){pieces, 0, QUANT_PIECE, false, true}, c);
}

static void crew_free(quant_context *ctx, crew *c)
{
    for (int i = 0; c->workers && i < c->threads; i++) {
        quant_release(ctx, c->workers[i].region, c->region_bytes, 1);
        quant_release(ctx, c->workers[i].importance, c->importance_bytes, 1);
        quant_release(ctx, c->workers[i].work, c->work_bytes, 1);
    }
    quant_release(ctx, c->workers, (size_t)c->threads, sizeof *c->workers);
}

static quant_status crew_make(const quant_job *job, double *sse, bool count, crew *c)
{
    const quant_codec *codec = quant_job_codec(job);
    const quant_regions *g = &job->regions;
    c->threads = g->elements < QUANT_SMALL ? 1 : quant_context_threads(job->ctx);
    c->region_bytes = codec && !g->contiguous ? quant_region_most(g) * sizeof(float) : 0;
    c->importance_bytes = job->importance ? c->region_bytes : 0;
    c->work_bytes = codec ? codec->work_bytes(job) : 0;
    c->workers = quant_alloc(job->ctx, (size_t)c->threads, sizeof *c->workers);
    if (!c->workers) {
        return QUANT_ENOMEM;
    }
    memset(c->workers, 0, (size_t)c->threads * sizeof *c->workers);
    for (int i = 0; i < c->threads; i++) {
        quant_worker *w = &c->workers[i];
        w->count = count;
        w->sse = sse;
        w->where = UINT64_MAX;
        w->region = quant_alloc(job->ctx, c->region_bytes, 1);
        w->importance = quant_alloc(job->ctx, c->importance_bytes, 1);
        w->work = quant_alloc(job->ctx, c->work_bytes, 1);
        if (!w->region || !w->importance || !w->work) {
            return QUANT_ENOMEM;
        }
    }
    return QUANT_OK;
}

/* What the workers counted, and the regions' SSE added in order. */
static void fill_info(const quant_job *job, const crew *c, const double *sse,
                      quant_encode_info *info)
{
    uint8_t seen[256] = {0};
    memset(info, 0, sizeof *info);
    info->elements = job->regions.elements;
    info->regions = job->scheme.family == QUANT_FAMILY_FLOAT ? 0 : job->regions.count;
    for (int i = 0; i < c->threads; i++) {
        const quant_worker *w = &c->workers[i];
        info->saturated += w->saturated;
        info->zero_codes += w->zero_codes;
        info->raised_scales += w->raised_scales;
        for (int k = 0; k < 256; k++) {
            seen[k] |= w->seen[k];
        }
    }
    for (int k = 0; k < 256; k++) {
        info->distinct_codes += seen[k];
    }
    for (uint64_t r = 0; sse && r < job->regions.count; r++) {
        info->optimal_sse += sse[r];
    }
}

static quant_status explain(const quant_job *job, quant_status s)
{
    size_t first = 0;
    uint64_t n = s == QUANT_ENOMEM ? 0 : qk()->nonfinite_f32(job->w, job->regions.elements, &first);
    if (n) {
        return quant_fail(job->ctx, QUANT_ENONFINITE,
                          "values: expected finite, found %llu NaN or infinite, the first at "
                          "index %zu", (unsigned long long)n, first);
    }
    if (s == QUANT_ESCALE) {
        return quant_fail(job->ctx, s, "%s: expected to fit its storage type, found overflow",
                          job->scheme.family == QUANT_FAMILY_FLOAT      ? "element"
                          : quant_scheme_has_scales(&job->scheme) ? "scale" : "table entry");
    }
    if (s == QUANT_ERANGE) {
        return quant_fail(job->ctx, s, "mode=unique: expected at most %d distinct values in a "
                          "group, found more", 1 << job->scheme.bits);
    }
    return s;
}

static quant_status encode_with(quant_job *job, double *sse, quant_encode_info *info)
{
    crew c;
    quant_status s = crew_make(job, sse, info != NULL, &c);
    if (s == QUANT_OK) {
        s = run_phases(job, &c);
    }
    if (s == QUANT_OK && job->zeros) {
        qk()->pack_codes((const uint8_t *)job->zeros, job->regions.count,
                         (unsigned)job->scheme.bits, job->packed + job->layout.zero.offset);
    }
    if (s == QUANT_OK && info) {
        fill_info(job, &c, sse, info);
    }
    crew_free(job->ctx, &c);
    return s;
}

static void clear_gaps(const quant_job *job)
{
    const quant_layout *l = &job->layout;
    const quant_segment *parts[] = {&l->codes, &l->scale, &l->zero, &l->table,
                                    &l->table_scale};
    size_t end = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (parts[i]->bytes) {
            memset(job->packed + end, 0, parts[i]->offset - end);
            end = parts[i]->offset + parts[i]->bytes;
        }
    }
}

/* What the job cannot do with the importance it is given. */
static quant_status check_importance(const quant_job *job)
{
    const float *v = job->importance;
    if (!v) {
        return QUANT_OK;
    }
    if (!quant_scheme_takes_importance(&job->scheme)) {
        return quant_fail(job->ctx, QUANT_EINVAL,
                          "importance: expected a scheme of mode=kmeans or scale=mse, found "
                          "another");
    }
    for (uint64_t i = 0; i < job->regions.elements; i++) {
        if (!(v[i] >= 0 && v[i] <= FLT_MAX)) {
            return quant_fail(job->ctx, QUANT_EINVAL,
                              "importance %llu: expected finite and >= 0, found %g",
                              (unsigned long long)i, (double)v[i]);
        }
    }
    return QUANT_OK;
}

static quant_status check_arguments(const quant_job *job)
{
    uint64_t most = quant_region_most(&job->regions);
    if (!job->w || !job->packed) {
        return quant_fail(job->ctx, QUANT_EINVAL, "w, packed: expected pointers, found NULL");
    }
    if (job->scheme.family == QUANT_FAMILY_CODEBOOK &&
        (most >= UINT32_MAX || quant_job_codec(job)->work_bytes(job) == 0)) {
        return quant_fail(job->ctx, QUANT_EOVERFLOW, "group: expected fewer than 2^32 - 1 weights "
                          "a table, found %llu", (unsigned long long)most);
    }
    return check_importance(job);
}

/* With the room that does not belong to a worker. */
static quant_status encode_job(quant_job *job, quant_encode_info *info)
{
    bool codebook = job->scheme.family == QUANT_FAMILY_CODEBOOK;
    bool zeros = job->scheme.asymmetric;
    bool has_optimum = codebook && job->scheme.dim == 1; /* of one dimension only */
    size_t regions = (size_t)job->regions.count, sums = info && has_optimum ? regions : 0;
    double *sse = sums ? quant_alloc(job->ctx, sums, sizeof *sse) : NULL;
    job->zeros = zeros ? quant_alloc(job->ctx, regions, 1) : NULL;
    job->used_entries =
        codebook ? quant_alloc(job->ctx, regions, sizeof *job->used_entries) : NULL;
    bool short_of_memory =
        (sums && !sse) || (zeros && !job->zeros) || (codebook && !job->used_entries);
    quant_status s = short_of_memory ? QUANT_ENOMEM : encode_with(job, sse, info);
    quant_release(job->ctx, job->used_entries, regions, sizeof *job->used_entries);
    quant_release(job->ctx, job->zeros, regions, 1);
    quant_release(job->ctx, sse, sums, sizeof *sse);
    return s == QUANT_OK ? s : explain(job, s);
}

quant_status quant_encode_with(quant_context *ctx, const quant_scheme *scheme,
                               const quant_shape *shape, const float *w, void *packed,
                               size_t capacity, const quant_encode_options *options)
{
    static const quant_encode_options none = {0};
    quant_job job;
    const quant_encode_options *o = options ? options : &none;
    QUANT_TRY(quant_job_make(ctx, scheme, shape, &job));
    if (job.layout.bytes > capacity) {
        return quant_fail(ctx, QUANT_EINVAL, "packed: expected room for %zu bytes, found %zu",
                          job.layout.bytes, capacity);
    }
    if (job.regions.elements == 0) {
        if (o->info) {
            memset(o->info, 0, sizeof *o->info);
        }
        return QUANT_OK;
    }
    job.w = w;
    job.importance = o->importance;
    job.packed = packed;
    job.source = packed;
    QUANT_TRY(check_arguments(&job));
    clear_gaps(&job);
    return encode_job(&job, o->info);
}

quant_status quant_encode(quant_context *ctx, const quant_scheme *scheme, const quant_shape *shape,
                          const float *w, void *packed, size_t capacity, quant_encode_info *info)
{
    return quant_encode_with(ctx, scheme, shape, w, packed, capacity,
                             &(quant_encode_options){.info = info});
}
