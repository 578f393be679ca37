/* SPDX-License-Identifier: Apache-2.0 */
/* linear.c - integer codes: value = scale * (code - zero), per tensor, channel or block. */
#include "kernels/kernels.h"
#include "quant/codec.h"
#include "quant/linear_range.h"
#include "quant/store.h"

static size_t no_work(const quant_job *job)
{
    (void)job;
    return 0;
}

static quant_status fit(const quant_job *job, uint64_t r, const float *x, uint64_t n,
                        quant_worker *worker)
{
    const float *importance =
        job->importance
            ? quant_region_values(&job->regions, r, job->importance, worker->importance)
            : NULL;
    importance = quant_codebook_any(importance, (size_t)n) ? importance : NULL;
    quant_linear_fit f = quant_linear_choose(&job->scheme, x, importance, n, job->fit_threads);
    if (f.overflow) {
        return QUANT_ESCALE;
    }
    quant_store_put(job->scheme.store, job->packed + job->layout.scale.offset, r, f.p.scale);
    if (job->zeros) {
        job->zeros[r] = (int8_t)f.p.zero;
    }
    worker->raised_scales += f.raised;
    return QUANT_OK;
}

static qk_linear parameters(const quant_job *job, uint64_t r)
{
    qk_linear p = {0.0f, 0, 0, 0};
    quant_linear_codes(&job->scheme, &p.lowest, &p.highest);
    p.scale = quant_store_get(job->scheme.store, job->source + job->layout.scale.offset, r);
    if (job->zeros) {
        p.zero = job->zeros[r];
    } else if (job->scheme.asymmetric) {
        p.zero = quant_zero_get(job->source + job->layout.zero.offset, r, job->scheme.bits);
    }
    return p;
}

static void code(const quant_job *job, quant_run run, const float *x, uint8_t *codes,
                 quant_worker *worker)
{
    qk_linear p = parameters(job, run.region);
    worker->saturated += qk()->encode_linear(x, run.length, p, codes);
    if (worker->count) {
        quant_worker_note(worker, codes, run.length, (uint8_t)p.zero);
    }
}

static void value(const quant_job *job, quant_run run, const uint8_t *codes, float *y)
{
    qk_decode_linear_fn *decode = job->straight ? qk()->stream_linear : qk()->decode_linear;
    decode(codes, run.length, parameters(job, run.region), y);
}

const quant_codec quant_linear_codec = {no_work, fit, code, value, quant_linear_strip,
                                        quant_linear_values, quant_linear_packed, true};
