/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_array_gate.c - positions of two arrays against plain sums, gates and pins on them. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/lab/pins.h"
#include "quant/random.h"
#include "tests/scratch.h"
#include "tests/test.h"

static void sha256_of_known_texts(void)
{
    static const struct {
        const char *text, *digest;
    } known[] = { /* FIPS 180-4, its examples; and the empty text */
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"}};
    char text[QUANT_SHA256_TEXT];
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        quant_pin_sha256(known[i].text, text);
        CU_ASSERT_STRING_EQUAL(text, known[i].digest);
    }
    static char a[1000000];
    memset(a, 'a', sizeof a);
    quant_sha256 h;
    quant_sha256_begin(&h);
    for (size_t at = 0, n = 1; at < sizeof a; at += n, n = n % 197 + 1) { /* uneven pieces */
        n = sizeof a - at < n ? sizeof a - at : n;
        quant_sha256_add(&h, a + at, n);
    }
    quant_sha256_end(&h, text);
    CU_ASSERT_STRING_EQUAL(text,
                           "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

/* ---- arrays on disk -------------------------------------------------------------------------- */

/* descr and the text of the shape as numpy writes them. */
static const char *put_npy(const char *name, const char *descr, const char *shape, const void *data,
                           size_t bytes)
{
    static char buffer[1 << 12];
    char head[256] = {0};
    int n = snprintf(head, sizeof head, "{'descr': '%s', 'fortran_order': False, 'shape': (%s), }",
                     descr, shape);
    unsigned length = 118;
    char *all = bytes + 128 <= sizeof buffer ? buffer : malloc(bytes + 128);
    memcpy(all, "\x93NUMPY\x01\x00", 8);
    all[8] = (char)length;
    all[9] = 0;
    memset(all + 10, ' ', length);
    memcpy(all + 10, head, (size_t)n);
    all[127] = '\n';
    memcpy(all + 128, data, bytes);
    const char *path = scratch_memory(name);
    scratch_put(path, all, bytes + 128);
    if (all != buffer) {
        free(all);
    }
    return path;
}

typedef struct measured {
    quant_context *ctx;
    quant_bank *bank[2];
    quant_array_result *result;
} measured;

static measured measure(const char *ref, const char *got)
{
    measured m = {.ctx = quant_context_new(NULL)};
    char first[4096];
    snprintf(first, sizeof first, "%s", ref);
    CHECK_OK(m.ctx, quant_bank_open(m.ctx, first, &m.bank[0]));
    CHECK_OK(m.ctx, quant_bank_open(m.ctx, got, &m.bank[1]));
    CHECK_OK(m.ctx, quant_array_gate(m.ctx, m.bank[0], m.bank[1], NULL, &m.result));
    remove(first);
    remove(got);
    return m;
}

static void release(measured *m)
{
    quant_array_result_free(m->ctx, m->result);
    quant_bank_close(m->ctx, m->bank[0]);
    quant_bank_close(m->ctx, m->bank[1]);
    quant_context_free(m->ctx);
}

static bool held(const char *text, const quant_array_row *rows, size_t count,
                 quant_gate_verdict *v)
{
    quant_context *ctx = quant_context_new(NULL);
    quant_gate *gate = NULL;
    quant_gate_verdict own;
    v = v ? v : &own;
    CHECK_OK(ctx, quant_gate_parse_arrays(ctx, text, &gate));
    bool holds = gate && quant_gate_judge_arrays(gate, 0, rows, count, v) && v->held;
    quant_gate_free(ctx, gate);
    quant_context_free(ctx);
    return holds;
}

/* ---- against plain sums ---------------------------------------------------------------------- */

enum { MOST = 4 * 5 * 24 };

typedef struct plain {
    uint64_t live, agree, broken, worst_at;
    double worst, mean, worst_error, scale_err2, err2, ref2;
    bool nan;
} plain;

static size_t peak(const float *x, size_t n)
{
    size_t at = 0;
    for (size_t i = 1; i < n; i++) {
        at = x[i] > x[at] ? i : at;
    }
    return at;
}

static void plain_position(plain *p, const float *r, const float *g, size_t n, uint64_t position)
{
    double rr = 0, gg = 0, rg = 0, ee = 0;
    for (size_t i = 0; i < n; i++) {
        double e = (double)g[i] - (double)r[i];
        rr += (double)r[i] * (double)r[i];
        gg += (double)g[i] * (double)g[i];
        rg += (double)r[i] * (double)g[i];
        ee += e * e;
    }
    bool broken = !isfinite(rr) || !isfinite(gg);
    p->broken += broken;
    p->ref2 += rr;
    p->err2 += ee;
    if (rr == 0 && gg == 0) {
        return;
    }
    double c = broken ? (double)NAN : rr == 0 || gg == 0 ? 0 : rg / sqrt(rr) / sqrt(gg);
    if (!p->nan && (p->live == 0 || isnan(c) || c < p->worst)) {
        p->worst = c;
        p->worst_at = position;
    }
    p->nan = p->nan || isnan(c);
    p->live++;
    p->mean += c;
    p->agree += !broken && peak(r, n) == peak(g, n);
    p->scale_err2 += rr > 0 ? (rg - rr) * (rg - rr) / rr : 0;
    p->worst_error = fmax(p->worst_error, rr > 0 ? sqrt(ee / rr) : (double)INFINITY);
}

static bool close_to(double a, double b)
{
    return (isnan(a) && isnan(b)) || fabs(a - b) <= 1e-9 * fmax(1, fabs(b));
}

/* Gaussian with ties of the largest element; some positions zero on one side or both, scaled, or
 * broken (one case in eight). */
static void draw(uint64_t k, uint64_t positions, size_t last, float *r, float *g)
{
    quant_random s = quant_random_stream(test_seed() + k, "array gate");
    for (uint64_t p = 0; p < positions; p++) {
        uint64_t kind = quant_random_below(&s, 90000 + p, 12);
        double noise = quant_random_below(&s, 80000 + k, 3) == 0 ? 1e-4 : 0.3;
        for (size_t i = 0; i < last; i++) {
            size_t at = (size_t)p * last + i;
            double w = floor(4 * quant_random_normal(&s, 2 * at)) / 4;
            double e = noise * quant_random_normal(&s, 2 * at + 1);
            r[at] = kind == 0 || kind == 1 ? 0 : (float)w;
            g[at] = kind == 0 || kind == 2 ? 0 : (float)(kind == 3 ? 1.5 * w : w + e);
        }
        if (k % 8 == 0 && kind == 4) {
            g[p * last + last / 2] = quant_random_below(&s, 70000 + p, 2) ? NAN : INFINITY;
        }
    }
}

static bool row_is(const quant_array_row *row, const plain *p, uint64_t positions)
{
    const quant_array_span *c = &row->span[QUANT_COSINE];
    bool any = p->live > 0;
    return row->positions == positions && row->live == p->live && row->agree == p->agree &&
           row->broken == p->broken && c->count == p->live &&
           (!any || (close_to(c->least, p->worst) && close_to(row->cosine_mean, p->mean /
                                                              (double)p->live))) &&
           (!any || c->least_at == p->worst_at || close_to(p->worst, 1) || p->worst == 0) &&
           (p->broken || (close_to(row->pooled.err2, p->err2) &&
                          close_to(row->scale_err2, p->scale_err2))) &&
           (!any || p->broken || close_to(row->span[QUANT_RELATIVE_ERROR].greatest,
                                          p->worst_error) || isinf(p->worst_error));
}

/* Gates a little on either side of the worst cosine; every pin holds on what it was made of. */
static bool gates_follow(const quant_array_row *row, const plain *p)
{
    char text[96];
    quant_gate_verdict v;
    snprintf(text, sizeof text, "cosine>=%.12f", p->live && !p->nan ? p->worst - 1e-6 : -1);
    bool good = held(text, row, 1, &v) == (p->live > 0 && !p->nan);
    good = good && (p->live == 0) == (v.why && strcmp(v.why, "no live pair") == 0);
    good = good && p->nan == (v.why && strcmp(v.why, "NaN") == 0);
    snprintf(text, sizeof text, "output.worst.cosine>=%.12f", p->nan ? -1 : p->worst + 1e-6);
    good = good && !held(text, row, 1, &v) &&
           (p->live == 0 || (v.has_position && v.position == row->span[QUANT_COSINE].least_at));
    for (size_t i = 0; p->broken == 0 && quant_pin_gate(row, i, text); i++) {
        good = good && held(text, row, 1, NULL);
    }
    return good;
}

static void positions_against_plain_sums(void)
{
    static float r[MOST], g[MOST];
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        quant_random s = quant_random_stream(test_seed() + k, "array shape");
        uint64_t a = 1 + quant_random_below(&s, 0, 4), b = 1 + quant_random_below(&s, 1, 5);
        size_t last = 1 + (size_t)quant_random_below(&s, 2, 24);
        char shape[64], first[4096];
        plain p = {0};
        snprintf(shape, sizeof shape, "%d, %d, %d", (int)a, (int)b, (int)last);
        draw(k, a * b, last, r, g);
        for (uint64_t i = 0; i < a * b; i++) {
            plain_position(&p, r + i * last, g + i * last, last, i);
        }
        size_t bytes = a * b * last * sizeof *r;
        snprintf(first, sizeof first, "%s", put_npy("ref.npy", "<f4", shape, r, bytes));
        measured m = measure(first, put_npy("got.npy", "<f4", shape, g, bytes));
        bool good = m.result && m.result->row_count == 1 &&
                    row_is(&m.result->rows[0], &p, a * b) && gates_follow(&m.result->rows[0], &p);
        CU_ASSERT(good);
        if (!good) {
            test_failed_case(k, "shape %s: worst %g at %d, live %d", shape, p.worst,
                             (int)p.worst_at, (int)p.live);
        }
        release(&m);
    }
}

/* One position far longer than the window: the very record of one call, and the argmax of all. */
static void a_long_vector_is_one_position(void)
{
    enum { N = 700001 };
    float *r = calloc(N, sizeof *r), *g = calloc(N, sizeof *g);
    double *w = calloc(N, sizeof *w);
    quant_random s = quant_random_stream(test_seed(), "long");
    for (size_t i = 0; i < N; i++) {
        r[i] = (float)quant_random_normal(&s, 2 * i);
        g[i] = r[i] + 0.01F * (float)quant_random_normal(&s, 2 * i + 1);
        w[i] = (double)r[i];
    }
    r[N - 3] = g[N - 3] = 20;
    w[N - 3] = 20;
    quant_fidelity f = quant_fidelity_f32(NULL, r, g, N);
    char first[4096];
    for (int wide = 0; wide < 2; wide++) {
        snprintf(first, sizeof first, "%s",
                 wide ? put_npy("long.npy", "<f8", "700001,", w, N * sizeof *w)
                      : put_npy("long.npy", "<f4", "700001,", r, N * sizeof *r));
        measured m = measure(first, put_npy("got.npy", "<f4", "700001,", g, N * sizeof *g));
        CU_ASSERT_PTR_NOT_NULL_FATAL(m.result);
        const quant_array_row *row = &m.result->rows[0];
        CU_ASSERT_EQUAL(row->positions, 1);
        CU_ASSERT_EQUAL(row->agree, 1);
        CU_ASSERT(wide ? close_to(row->pooled.err2, f.err2)
                       : memcmp(&row->pooled, &f, sizeof f) == 0);
        release(&m);
    }
    free(r);
    free(g);
    free(w);
}

/* ---- warnings and refusals ------------------------------------------------------------------- */

static void a_wrong_scale_is_told_from_noise(void)
{
    enum { N = 4 * 64 };
    float r[N], scaled[N], noisy[N], moved[N];
    quant_random s = quant_random_stream(test_seed(), "scale");
    for (size_t i = 0; i < N; i++) {
        r[i] = (float)quant_random_normal(&s, i);
        scaled[i] = (i < N / 2 ? 0.5F : 2.0F) * r[i]; /* no one factor would do */
        noisy[i] = r[i] + 0.3F * (float)quant_random_normal(&s, N + i);
        /* Half the error is scale, half is noise. */
        moved[i] = r[i] * (i < N / 2 ? 0.9F : 1.1F) + (noisy[i] - r[i]) / 3;
    }
    char first[4096];
    for (int k = 0; k < 4; k++) {
        const float *g = k == 0 ? scaled : k == 1 ? noisy : k == 3 ? moved : r;
        snprintf(first, sizeof first, "%s", put_npy("r.npy", "<f4", "4, 64", r, sizeof r));
        measured m = measure(first, put_npy("g.npy", "<f4", "4, 64", g, sizeof r));
        CU_ASSERT_PTR_NOT_NULL_FATAL(m.result);
        CU_ASSERT_EQUAL(quant_array_is_scaled(&m.result->rows[0]), k == 0);
        CU_ASSERT(k != 0 || held("cosine>=0.999999", m.result->rows, 1, NULL));
        CU_ASSERT(k != 0 || !held("sqnr_db>=20", m.result->rows, 1, NULL));
        CU_ASSERT(k != 2 || held("sqnr_db>=1000,sqnr_db<=5", m.result->rows, 1, NULL));
        CU_ASSERT(k != 2 || held("sqnr_db<=5", m.result->rows, 1, NULL));
        release(&m);
    }
}

static void gates_of_arrays_have_their_own_figures(void)
{
    quant_context *ctx = quant_context_new(NULL);
    quant_gate *gate = NULL;
    CU_ASSERT_EQUAL(quant_gate_parse_arrays(ctx, "bits_per_weight<=4", &gate), QUANT_EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(quant_context_message(ctx), "argmax_agreement"));
    CU_ASSERT_EQUAL(quant_gate_parse(ctx, "argmax_agreement>=0.9", &gate), QUANT_EINVAL);
    CU_ASSERT_PTR_NULL(strstr(quant_context_message(ctx), ", argmax_agreement"));
    CU_ASSERT_FALSE(held("cosine>=-1", NULL, 0, NULL));
    quant_context_free(ctx);
}

static void an_index_reads_as_a_tuple(void)
{
    char text[QUANT_ARRAY_INDEX_TEXT];
    const quant_shape shape = {3, {4, 5, 7}}, line = {1, {7}}, scalar = {0, {0}};
    quant_array_index_text(&shape, 13, text);
    CU_ASSERT_STRING_EQUAL(text, "[2, 3]");
    quant_array_index_text(&line, 0, text);
    CU_ASSERT_STRING_EQUAL(text, "");
    quant_array_index_text(&scalar, 0, text);
    CU_ASSERT_STRING_EQUAL(text, "");
}

TEST_SUITE(array_gate,
           {"SHA-256 of known texts", sha256_of_known_texts},
           {"positions, gates and pins against plain sums", positions_against_plain_sums},
           {"a vector longer than the window is one position", a_long_vector_is_one_position},
           {"a wrong scale is told from noise", a_wrong_scale_is_told_from_noise},
           {"gates of arrays have their own figures", gates_of_arrays_have_their_own_figures},
           {"an index reads as a tuple", an_index_reads_as_a_tuple})
