/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_stats.c - what calibration records, against sums over the traces themselves; the file, whole
 * and damaged. */
#include "quant/lab/stats.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/scratch.h"
#include "tests/stats_rig.h"
#include "tests/test.h"

/* ---- against the traces ---------------------------------------------------------------------- */

enum { MOST_COLS = 80 };

/* One input, summed as a reader would: all rows of one site, layer and expert. */
typedef struct direct {
    quant_site site;
    uint64_t layer, expert, rows;
    size_t s, from; /* positions of a sequence; first one that counts */
    float lowest[MOST_COLS], highest[MOST_COLS];
    double sum[MOST_COLS], square[MOST_COLS], fourth, moments[MOST_COLS * MOST_COLS];
} direct;

static quant_status gather(void *user, const quant_stage_view *v)
{
    direct *d = user;
    uint64_t layer = d->site == QUANT_SITE_FINAL ? v->layer : d->layer;
    if (v->stage != quant_site_stage(d->site) || v->layer != layer || v->expert != d->expert) {
        return QUANT_OK;
    }
    for (size_t r = 0; r < v->rows; r++) {
        const float *x = v->data + r * v->cols;
        size_t row = v->chosen ? v->chosen[r] : v->first_row + r;
        if (row % d->s < d->from) {
            continue;
        }
        for (size_t c = 0; c < v->cols; c++) {
            d->lowest[c] = d->rows > 0 ? fminf(d->lowest[c], x[c]) : x[c];
            d->highest[c] = d->rows > 0 ? fmaxf(d->highest[c], x[c]) : x[c];
            d->sum[c] += (double)x[c];
            d->square[c] += pow((double)x[c], 2);
            d->fourth += pow((double)x[c], 4);
            for (size_t e = 0; e < v->cols; e++) {
                d->moments[c * v->cols + e] += (double)x[c] * (double)x[e];
            }
        }
        d->rows++;
    }
    return QUANT_OK;
}

static bool near(double a, double b, double scale)
{
    return fabs(a - b) <= 1e-12 * scale + 1e-300;
}

static bool agrees(const direct *d, const quant_stats_row *row, const double *moments)
{
    bool good = d->rows == row->rows && near(d->fourth, row->fourth, d->fourth);
    for (size_t c = 0; c < row->cols && good; c++) {
        good = near(d->sum[c], row->sum[c], sqrt((double)d->rows * d->square[c])) &&
               near(d->square[c], row->square[c], d->square[c]) &&
               (d->rows == 0 || (d->lowest[c] == row->observer->lowest[c] &&
                                 d->highest[c] == row->observer->highest[c]));
        for (size_t e = 0; e < row->cols && good; e++) {
            good = near(d->moments[c * row->cols + e], moments[c * row->cols + e],
                        sqrt(d->square[c] * d->square[e]));
        }
    }
    return good;
}

/* The same rows, cut as the calibration cuts them. */
static bool one_row_agrees(stats_rig *r, const quant_stats_info *info, const quant_stats_row *row,
                           const double *moments)
{
    direct *d = calloc(1, sizeof *d);
    size_t s = (size_t)(info->first_position + info->positions);
    int64_t *ids = malloc(info->sequences * s * sizeof *ids);
    const quant_forward_variant v = {.scheme = NULL};
    const quant_forward_options o = {.stages = UINT32_MAX, .visit = gather, .user = d};
    *d = (direct){.site = row->site, .layer = row->layer, .expert = row->expert, .s = s,
                  .from = (size_t)info->first_position};
    for (size_t i = 0; i < info->sequences; i++) {
        memcpy(ids + i * s, r->ids + (info->first_sequence + i) * r->tokens.s, s * sizeof *ids);
    }
    CHECK_OK(r->ctx, quant_forward_run(r->ctx, r->model, &(quant_tokens){ids, info->sequences, s},
                                       &v, 1, &o));
    bool good = agrees(d, row, moments);
    free(ids);
    free(d);
    return good;
}

static void statistics_are_those_of_the_traces(void)
{
    for (uint64_t k = test_first_case(); k < test_last_case(); k += 25) {
        stats_rig *r = rig_open("stats", k, k / 25 % 2, 6, (size_t)(3 + k % 40));
        quant_calibrate_options o = {.moments = true, .piece = 1 + k % 3};
        o.first_sequence = k % 3;
        o.first_position = k % 2;
        o.positions = k % 4 ? 0 : r->tokens.s - 2;
        quant_stats *stats = NULL, *again = NULL;
        quant_stats_row row;
        double moments[MOST_COLS * MOST_COLS];
        CHECK_OK(r->ctx, quant_calibrate(r->ctx, r->model, &r->tokens, &o, r->path, &stats));
        CHECK_OK(r->ctx, quant_stats_open(r->ctx, r->path, &again));
        CHECK_OK(r->ctx, quant_stats_match(r->ctx, again, quant_model_bank(r->model)));
        for (size_t i = 0; again && quant_stats_each(again, i, &row); i++) {
            CHECK_OK(r->ctx, quant_stats_moments(r->ctx, again, &row, moments));
            bool good = one_row_agrees(r, quant_stats_info_of(stats), &row, moments);
            CU_ASSERT(good);
            if (!good) {
                test_failed_case(k, "%s of layer %d, expert %d", quant_site_name(row.site),
                                 (int)row.layer, (int)row.expert);
            }
        }
        quant_stats_close(r->ctx, stats);
        quant_stats_close(r->ctx, again);
        rig_close(r);
    }
}

/* Every matrix has an input; other tensors have none. */
static void tensors_find_their_inputs(void)
{
    for (int moe = 0; moe < 2; moe++) {
        stats_rig *r = rig_open("inputs of tensors", (uint64_t)moe, moe, 2, 5);
        quant_stats *stats = NULL;
        quant_stats_row row;
        free(rig_bytes(r, NULL, 1, &(size_t){0}));
        CHECK_OK(r->ctx, quant_stats_open(r->ctx, r->path, &stats));
        for (size_t t = 0; stats && t < r->tiny->count; t++) {
            const tiny_tensor *w = &r->tiny->t[t];
            bool embed = strstr(w->name, "embed") && !r->tiny->tied;
            bool found = quant_stats_of_tensor(NULL, stats, w->name, 0, &row) == QUANT_OK;
            CU_ASSERT_EQUAL(found, w->shape.rank >= 2 && !embed);
            CU_ASSERT(!found || row.cols == w->shape.dim[w->shape.rank - 1]);
        }
        CU_ASSERT_EQUAL(quant_stats_of_tensor(r->ctx, stats, "none", 0, &row), QUANT_EFIELD);
        CU_ASSERT_EQUAL(quant_stats_moments(r->ctx, stats, &row, NULL), QUANT_EFIELD);
        quant_stats_close(r->ctx, stats);
        rig_close(r);
    }
}

static void figures_of_a_row(void)
{
    quant_observer *o = NULL;
    const float x[] = {1, -8, 2, 0, 1, 4, -2, 0, -1, 4, 2, 0};
    const double square[] = {3, 96, 12, 0};
    double over;
    CHECK_OK(NULL, quant_observer_new(NULL, 4, false, 1, &o));
    CHECK_OK(NULL, quant_observer_add(NULL, o, 0, x, 3));
    quant_stats_row row = {.rows = 3, .cols = 4, .observer = o, .square = square,
                           .fourth = 3 + 4096 + 256 + 256 + 3 * 16};
    CU_ASSERT_EQUAL(quant_stats_absmax(&row), 8.0f);
    CU_ASSERT_EQUAL(quant_stats_rms(&row), sqrt(111.0 / 12));
    CU_ASSERT_EQUAL(quant_stats_kurtosis(&row), 12 * 4659.0 / (111.0 * 111.0));
    CU_ASSERT_EQUAL(quant_stats_worst_channel(&row, &over), 1);
    CU_ASSERT_EQUAL(over, 8); /* median of 0, 1, 2, 8: the lower middle */
    quant_observer_free(NULL, o);
}

/* ---- damage --------------------------------------------------------------------------------- */

static quant_status open_bytes(stats_rig *r, const char *bytes, size_t count)
{
    quant_stats *stats = NULL;
    scratch_put(r->path, bytes, count);
    quant_status s = quant_stats_open(r->ctx, r->path, &stats);
    CU_ASSERT_EQUAL(s == QUANT_OK, stats != NULL);
    CU_ASSERT(s == QUANT_OK || strstr(quant_context_message(r->ctx), "s.safetensors: ") != NULL);
    quant_stats_close(r->ctx, stats);
    return s;
}

static void truncated_files_are_refused(void)
{
    stats_rig *r = rig_open("cut", 1, true, 2, 5);
    size_t count;
    char *bytes = rig_bytes(r, &(quant_calibrate_options){.moments = true}, 1, &count);
    for (size_t n = 0; bytes && n < count; n += 1 + count / 97) {
        CU_ASSERT_NOT_EQUAL(open_bytes(r, bytes, n), QUANT_OK);
    }
    CU_ASSERT_EQUAL(open_bytes(r, bytes, count), QUANT_OK);
    free(bytes);
    rig_close(r);
}

/* Some flips cannot be told from other traces; none may crash or read as nonsense. */
static void flipped_bits_never_crash(void)
{
    stats_rig *r = rig_open("flip", 1, true, 2, 5);
    size_t count, refused = 0, header;
    char *bytes = rig_bytes(r, NULL, 1, &count);
    for (uint64_t k = test_first_case(); bytes && k < test_last_case(); k += 4) {
        draw d = draw_begin("flips", k);
        memcpy(&header, bytes, sizeof header);
        size_t at = (size_t)draw_int(&d, 0, (int64_t)(k % 8 ? header + 8 : count) - 1);
        char old = bytes[at];
        bytes[at] = (char)(bytes[at] ^ 1 << draw_int(&d, 0, 7));
        refused += open_bytes(r, bytes, count) != QUANT_OK;
        bytes[at] = old;
    }
    CU_ASSERT(refused > 0);
    free(bytes);
    rig_close(r);
}

/* Overwrite element 0 of an array and say what it must be refused for. */
typedef struct forgery {
    const char *array;
    double value;      /* for F32 and F64 */
    uint64_t integer;  /* for U64 and U32 */
    quant_status status;
    const char *says;
} forgery;

static void forge(stats_rig *r, const char *bytes, size_t count, const forgery *f)
{
    char *copy = malloc(count), key[96];
    uint64_t header, begin;
    memcpy(copy, bytes, count);
    memcpy(&header, bytes, sizeof header);
    snprintf(key, sizeof key, "\"%s\":", f->array);
    const char *entry = strstr(copy + 8, key);
    CU_ASSERT_PTR_NOT_NULL_FATAL(entry);
    CU_ASSERT_EQUAL(sscanf(strstr(entry, "data_offsets") + 15, "%lu", &begin), 1);
    char *to = copy + 8 + header + begin;
    float narrow = (float)f->value;
    uint32_t small = (uint32_t)f->integer;
    bool f32 = strncmp(strstr(entry, "dtype") + 8, "F32", 3) == 0;
    bool f64 = strncmp(strstr(entry, "dtype") + 8, "F64", 3) == 0;
    bool u32 = strncmp(strstr(entry, "dtype") + 8, "U32", 3) == 0;
    memcpy(to, f32   ? (const void *)&narrow
               : f64 ? (const void *)&f->value
               : u32 ? (const void *)&small
                     : (const void *)&f->integer,
           f32 || u32 ? 4 : 8);
    CU_ASSERT_EQUAL(open_bytes(r, copy, count), f->status);
    bool says = strstr(quant_context_message(r->ctx), f->says) != NULL;
    CU_ASSERT(says);
    if (!says) {
        printf("\n    %s: %s\n", f->array, quant_context_message(r->ctx));
    }
    free(copy);
}

static void numbers_that_disagree_are_refused(void)
{
    static const forgery list[] = {
        {"mix.rows", 0, 7, QUANT_ERANGE, "arrays of mix"},
        {"mix.batch_rows", 0, UINT64_MAX, QUANT_ERANGE, "mix"},
        {"mix.lowest", NAN, 0, QUANT_ERANGE, "arrays of mix"},
        {"mix.highest", 1e30, 0, QUANT_ERANGE, "mix"},
        {"mix.sum", INFINITY, 0, QUANT_ERANGE, "mix.sum, layer 0"},
        {"mix.square", NAN, 0, QUANT_ERANGE, "mix.square, layer 0"},
        {"mix.square", 1e9, 0, QUANT_ERANGE, "mix.square, layer 0"},
        {"mix.square", 0, 0, QUANT_ERANGE, "mix.square, layer 0"},
        {"mix.fourth", -1, 0, QUANT_ERANGE, "mix.fourth, layer 0"},
        {"mix.count", 0, 1, QUANT_ERANGE, "arrays of mix"},
        {"mix.small", 0, UINT64_MAX, QUANT_ERANGE, "arrays of mix"},
        {"mix.first", 0, UINT32_MAX, QUANT_ERANGE, "arrays of mix"},
        {"expert_activation.rows", 0, 1000, QUANT_ERANGE, "expert_activation"},
        {"tokens", 0, UINT64_MAX, QUANT_ERANGE, "tokens"},
    };
    stats_rig *r = rig_open("forged", 3, true, 2, 5);
    size_t count;
    char *bytes = rig_bytes(r, NULL, 1, &count);
    for (size_t i = 0; bytes && i < sizeof list / sizeof *list; i++) {
        forge(r, bytes, count, &list[i]);
    }
    free(bytes);
    rig_close(r);
}

/* Moments are looked at when they are asked for. */
static void moments_that_disagree_are_refused(void)
{
    stats_rig *r = rig_open("moments", 5, false, 2, 9);
    size_t count, cols = (size_t)r->tiny->width;
    char *bytes = rig_bytes(r, &(quant_calibrate_options){.moments = true}, 1, &count);
    double *out = malloc(cols * cols * sizeof *out);
    uint64_t header, begin;
    quant_stats_row row;
    memcpy(&header, bytes, sizeof header);
    const char *entry = strstr(strstr(bytes + 8, "\"ffn_input.moments\":"), "data_offsets");
    CU_ASSERT_EQUAL(sscanf(entry + 15, "%lu", &begin), 1);
    for (size_t i = 0; cols > 1 && i < 5; i++) {
        static const double wrong[] = {(double)NAN, -1, 1e30, 0, 0};
        quant_stats *stats = NULL;
        char *at = bytes + 8 + header + begin + (i % 2 ? 0 : sizeof(double)), old[8];
        memcpy(old, at, sizeof old);
        memcpy(at, &wrong[i], sizeof old);
        scratch_put(r->path, bytes, count);
        CHECK_OK(r->ctx, quant_stats_open(r->ctx, r->path, &stats));
        quant_stats_at(stats, QUANT_SITE_FFN_INPUT, 0, 0, &row);
        CU_ASSERT_EQUAL(quant_stats_moments(r->ctx, stats, &row, out), QUANT_ERANGE);
        CU_ASSERT_PTR_NOT_NULL(strstr(quant_context_message(r->ctx), "ffn_input.moments, layer 0"));
        memcpy(at, old, sizeof old);
        quant_stats_close(r->ctx, stats);
    }
    free(out);
    free(bytes);
    rig_close(r);
}

/* Text of the header, of the same length. */
static void words_that_disagree_are_refused(void)
{
    static const struct {
        const char *from, *to;
        quant_status status;
    } list[] = {
        {"quant.stats/1", "quant.stats/2", QUANT_EVERSION},
        {"\"0..1\"", "\"1..0\"", QUANT_ESYNTAX},
        {"\"0..1\"", "\"0..9\"", QUANT_ESHAPE},
        {"\"done\":\"2\"", "\"done\":\"3\"", QUANT_ERANGE},
        {"\"done\":\"2\"", "\"done\":\"1\"", QUANT_ERANGE},
        {"\"model_sha256\":\"", "\"model_sha256\":\"x", QUANT_ESYNTAX},
        {"mix.square", "mix.squaer", QUANT_EFIELD},
        {"mix.rows\":{\"dtype\":\"U64", "mix.rows\":{\"dtype\":\"I64", QUANT_ETYPE},
    };
    stats_rig *r = rig_open("words", 4, true, 2, 5);
    size_t count;
    char *bytes = rig_bytes(r, NULL, 1, &count);
    for (size_t i = 0; bytes && i < sizeof list / sizeof *list; i++) {
        char *copy = malloc(count);
        memcpy(copy, bytes, count);
        char *at = memmem(copy, count, list[i].from, strlen(list[i].from));
        CU_ASSERT_PTR_NOT_NULL_FATAL(at);
        memcpy(at, list[i].to, strlen(list[i].to));
        quant_status s = open_bytes(r, copy, count);
        CU_ASSERT_EQUAL(s, list[i].status);
        if (s != list[i].status) {
            printf("\n    %s: %s\n", list[i].to, quant_context_message(r->ctx));
        }
        free(copy);
    }
    free(bytes);
    rig_close(r);
}

TEST_SUITE(stats, {"statistics are those of the traces", statistics_are_those_of_the_traces},
           {"tensors find their inputs", tensors_find_their_inputs},
           {"figures of a row", figures_of_a_row},
           {"truncated files are refused", truncated_files_are_refused},
           {"flipped bits never crash", flipped_bits_never_crash},
           {"numbers that disagree are refused", numbers_that_disagree_are_refused},
           {"moments that disagree are refused", moments_that_disagree_are_refused},
           {"words that disagree are refused", words_that_disagree_are_refused})
