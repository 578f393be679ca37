/* SPDX-License-Identifier: GPL-3.0-or-later */
/* make_bank - write a bank of random weights whose statistics are asked for. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/bank_spec.h"
#include "kernels/kernels.h"
#include "quant/bank/output.h"
#include "quant/bank/safetensors_write.h"
#include "quant/internal.h"

enum { MAX_TENSORS = 4096, CHUNK_ELEMENTS = 1 << 20 };

static const char usage[] =
    "make_bank -o FILE [--seed N] [--threads N] (--preset NAME | TENSORS)\n"
    "  --tensor NAME=AxBxC           a tensor; the last axis is columns, the one before rows\n"
    "what follows describes the tensor before it, or all when it stands before the first\n"
    "  --dtype f32|f16|bf16          default f32\n"
    "  --dist gaussian|laplace|uniform|student-t:DOF   variance 1; default gaussian\n"
    "  --rms R  --mean M             standard deviation (default 0.02) and mean (default 0)\n"
    "  --row-spread S                standard deviation of the logarithm of a row's scale\n"
    "  --outliers rows:COUNT:RATIO | columns:COUNT:RATIO\n"
    "                                COUNT lines get one weight of RATIO times the line's RMS\n"
    "presets:";

/* What the command line says; `base` is copied into every new tensor. */
typedef struct request {
    const char *out, *preset;
    uint64_t seed;
    int threads;
    bank_spec base, *specs;
    size_t count;
} request;

/* ---- options -------------------------------------------------------------------------------- */

static quant_status refuse(quant_context *ctx, const char *option, const char *expected,
                           const char *found)
{
    return quant_fail(ctx, QUANT_EINVAL, "%s: expected %s, found \"%s\"", option, expected, found);
}

/* Digits only, up to `end`; false when there are none, too many, or something else. */
static bool parse_u64(const char *text, char end, uint64_t *value, const char **rest)
{
    uint64_t v = 0;
    const char *p = text;
    for (; *p >= '0' && *p <= '9'; p++) {
        if (v > (UINT64_MAX - 9) / 10) {
            return false;
        }
        v = v * 10 + (uint64_t)(*p - '0');
    }
    *value = v;
    *rest = p + (*p != '\0');
    return p != text && *p == end;
}

static bool parse_double(const char *text, double *value)
{
    char *end;
    *value = strtod(text, &end);
    return end != text && *end == '\0';
}

static bool take_dims(const char *text, quant_shape *shape)
{
    for (shape->rank = 0; shape->rank < QUANT_MAX_RANK;) {
        const char *rest;
        uint64_t *dim = &shape->dim[shape->rank++];
        if (parse_u64(text, '\0', dim, &rest)) {
            return true;
        }
        if (!parse_u64(text, 'x', dim, &rest)) {
            return false;
        }
        text = rest;
    }
    return false;
}

/* The name is a copy that lives as long as the process. */
static quant_status add_tensor(quant_context *ctx, request *r, const char *value)
{
    const char *equals = strrchr(value, '=');
    bank_spec spec = r->base;
    if (!equals || equals == value || !take_dims(equals + 1, &spec.shape)) {
        return refuse(ctx, "--tensor", "NAME=AxBxC", value);
    }
    if (r->count == MAX_TENSORS) {
        return quant_fail(ctx, QUANT_EINVAL, "--tensor: expected at most %d", MAX_TENSORS);
    }
    char *name = strndup(value, (size_t)(equals - value));
    if (!name) {
        return quant_fail(ctx, QUANT_ENOMEM, "--tensor: no memory for a name");
    }
    spec.name = name;
    r->specs[r->count++] = spec;
    return QUANT_OK;
}

static quant_status take_dtype(quant_context *ctx, bank_spec *spec, const char *value)
{
    static const struct {
        const char *word;
        quant_dtype dtype;
    } types[] = {{"f32", QUANT_F32}, {"f16", QUANT_F16}, {"bf16", QUANT_BF16}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (strcmp(value, types[i].word) == 0) {
            spec->dtype = types[i].dtype;
            return QUANT_OK;
        }
    }
    return refuse(ctx, "--dtype", "f32, f16 or bf16", value);
}

static quant_status take_dist(quant_context *ctx, bank_spec *spec, const char *value)
{
    static const struct {
        const char *word;
        bank_dist dist;
    } dists[] = {{"gaussian", BANK_GAUSSIAN}, {"laplace", BANK_LAPLACE}, {"uniform", BANK_UNIFORM}};
    for (size_t i = 0; i < sizeof dists / sizeof *dists; i++) {
        if (strcmp(value, dists[i].word) == 0) {
            spec->dist = dists[i].dist;
            return QUANT_OK;
        }
    }
    static const char prefix[] = "student-t:";
    uint64_t dof;
    const char *rest;
    if (strncmp(value, prefix, sizeof prefix - 1) != 0 ||
        !parse_u64(value + sizeof prefix - 1, '\0', &dof, &rest) || dof > BANK_MAX_DOF) {
        return refuse(ctx, "--dist", "gaussian, laplace, uniform or student-t:DOF", value);
    }
    spec->dist = BANK_STUDENT_T;
    spec->dof = (unsigned)dof;
    return QUANT_OK;
}

static quant_status take_outliers(quant_context *ctx, bank_spec *spec, const char *value)
{
    bool columns = strncmp(value, "columns:", 8) == 0;
    const char *rest = value + (columns ? 8 : 5);
    if ((!columns && strncmp(value, "rows:", 5) != 0) ||
        !parse_u64(rest, ':', &spec->outliers, &rest) || !parse_double(rest, &spec->ratio)) {
        return refuse(ctx, "--outliers", "rows:COUNT:RATIO or columns:COUNT:RATIO", value);
    }
    spec->in_columns = columns;
    return QUANT_OK;
}

static quant_status take_number(quant_context *ctx, const char *option, const char *value,
                                double *number)
{
    return parse_double(value, number) ? QUANT_OK : refuse(ctx, option, "a number", value);
}

/* Options of one tensor, or of all that follow. */
static quant_status take_property(quant_context *ctx, request *r, const char *option,
                                  const char *value)
{
    bank_spec *spec = r->count ? &r->specs[r->count - 1] : &r->base;
    if (strcmp(option, "--dtype") == 0) {
        return take_dtype(ctx, spec, value);
    }
    if (strcmp(option, "--dist") == 0) {
        return take_dist(ctx, spec, value);
    }
    if (strcmp(option, "--outliers") == 0) {
        return take_outliers(ctx, spec, value);
    }
    if (strcmp(option, "--rms") == 0) {
        return take_number(ctx, option, value, &spec->rms);
    }
    if (strcmp(option, "--mean") == 0) {
        return take_number(ctx, option, value, &spec->mean);
    }
    if (strcmp(option, "--row-spread") == 0) {
        return take_number(ctx, option, value, &spec->row_spread);
    }
    return quant_fail(ctx, QUANT_EINVAL, "%s: expected an option of make_bank (see --help)",
                      option);
}

static quant_status take_tensor_options(quant_context *ctx, request *r, const char *const *words)
{
    for (; words[0]; words += 2) {
        if (!words[1]) {
            return quant_fail(ctx, QUANT_EINVAL, "%s: expected a value after it", words[0]);
        }
        QUANT_TRY(strcmp(words[0], "--tensor") == 0 ? add_tensor(ctx, r, words[1])
                                                    : take_property(ctx, r, words[0], words[1]));
    }
    return QUANT_OK;
}

static quant_status take_option(quant_context *ctx, request *r, const char *option,
                                const char *value)
{
    const char *rest;
    uint64_t number;
    if (strcmp(option, "-o") == 0) {
        r->out = value;
        return QUANT_OK;
    }
    if (strcmp(option, "--seed") == 0) {
        return parse_u64(value, '\0', &r->seed, &rest) ? QUANT_OK
                                                       : refuse(ctx, option, "0..2^64-10", value);
    }
    if (strcmp(option, "--threads") == 0) {
        if (!parse_u64(value, '\0', &number, &rest) || number > 256) {
            return refuse(ctx, option, "0..256", value);
        }
        r->threads = (int)number;
        return QUANT_OK;
    }
    if (strcmp(option, "--preset") == 0) {
        r->preset = value;
        return bank_preset(value) ? take_tensor_options(ctx, r, bank_preset(value))
                                  : refuse(ctx, option, "a preset (see --help)", value);
    }
    const char *const pair[] = {option, value, NULL};
    return take_tensor_options(ctx, r, pair);
}

static quant_status parse(quant_context *ctx, int argc, char **argv, request *r)
{
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 == argc) {
            return quant_fail(ctx, QUANT_EINVAL, "%s: expected a value after it", argv[i]);
        }
        QUANT_TRY(take_option(ctx, r, argv[i], argv[i + 1]));
    }
    if (!r->out || r->count == 0) {
        return quant_fail(ctx, QUANT_EINVAL, "expected -o FILE and a --tensor or a --preset");
    }
    return QUANT_OK;
}

/* ---- writing -------------------------------------------------------------------------------- */

/* Buffers of one chunk. */
typedef struct chunk {
    float *values;
    uint16_t *narrow;
    size_t elements;
} chunk;

static quant_status check_finite(quant_context *ctx, const bank_spec *t, const uint16_t *bits,
                                 size_t n)
{
    uint16_t exponent = t->dtype == QUANT_F16 ? 0x7c00 : 0x7f80;
    for (size_t i = 0; i < n; i++) {
        if ((bits[i] & exponent) == exponent) {
            return quant_fail(ctx, QUANT_ERANGE, "%s: a value overflows %s", t->name,
                              quant_dtype_name(t->dtype));
        }
    }
    return QUANT_OK;
}

static quant_status put_rows(quant_context *ctx, quant_safetensors_writer *w, size_t i,
                             const bank_source *s, chunk c)
{
    const bank_spec *t = &s->spec;
    uint64_t step = c.elements / s->columns;
    for (uint64_t row = 0; row < s->rows; row += step) {
        uint64_t rows = s->rows - row < step ? s->rows - row : step;
        size_t n = (size_t)(rows * s->columns);
        uint64_t begin = row * s->columns;
        bank_source_fill(s, row, rows, c.values);
        if (t->dtype == QUANT_F32) {
            QUANT_TRY(quant_safetensors_put(ctx, w, i, begin * 4, c.values, n * 4));
            continue;
        }
        (t->dtype == QUANT_F16 ? qk()->f32_to_f16 : qk()->f32_to_bf16)(c.values, n, c.narrow);
        QUANT_TRY(check_finite(ctx, t, c.narrow, n));
        QUANT_TRY(quant_safetensors_put(ctx, w, i, begin * 2, c.narrow, n * 2));
    }
    return QUANT_OK;
}

static quant_status put_tensor(quant_context *ctx, const request *r, quant_safetensors_writer *w,
                               size_t i)
{
    bank_source source;
    quant_status s = bank_source_open(ctx, &r->specs[i], r->seed, &source);
    if (s == QUANT_OK && source.rows > 0) {
        chunk c = {.elements = source.columns > CHUNK_ELEMENTS ? (size_t)source.columns
                                                               : CHUNK_ELEMENTS};
        c.values = quant_alloc(ctx, c.elements, sizeof *c.values);
        c.narrow = quant_alloc(ctx, c.elements, sizeof *c.narrow);
        s = c.values && c.narrow ? put_rows(ctx, w, i, &source, c) : QUANT_ENOMEM;
        quant_release(ctx, c.narrow, c.elements, sizeof *c.narrow);
        quant_release(ctx, c.values, c.elements, sizeof *c.values);
    }
    bank_source_close(ctx, &source);
    return s == QUANT_EINVAL ? quant_fail_prefix(ctx, s, r->specs[i].name) : s;
}

static quant_status write_bank(quant_context *ctx, const request *r)
{
    char seed[24];
    snprintf(seed, sizeof seed, "%" PRIu64, r->seed);
    quant_safetensors_pair metadata[] = {
        {"format", "pt"}, {"made_by", "make_bank"}, {"seed", seed}, {"preset", r->preset}};
    quant_safetensors_item *items = quant_alloc(ctx, r->count, sizeof *items);
    if (!items) {
        return QUANT_ENOMEM;
    }
    for (size_t i = 0; i < r->count; i++) {
        items[i] = (quant_safetensors_item){r->specs[i].name, r->specs[i].dtype,
                                            r->specs[i].shape};
    }
    quant_safetensors_writer *w = NULL;
    quant_status s = quant_safetensors_create(ctx, r->out, items, r->count, metadata,
                                              r->preset ? 4 : 3, &w);
    quant_release(ctx, items, r->count, sizeof *items);
    for (size_t i = 0; s == QUANT_OK && i < r->count; i++) {
        s = put_tensor(ctx, r, w, i);
    }
    if (s != QUANT_OK) {
        quant_safetensors_discard(ctx, w);
        return s;
    }
    return quant_safetensors_commit(ctx, w);
}

int main(int argc, char **argv)
{
    if (argc < 2 || strcmp(argv[1], "--help") == 0) {
        fputs(usage, argc < 2 ? stderr : stdout);
        for (size_t i = 0; bank_preset_name(i); i++) {
            fprintf(argc < 2 ? stderr : stdout, " %s", bank_preset_name(i));
        }
        fputs("\n", argc < 2 ? stderr : stdout);
        return argc < 2 ? 2 : 0;
    }
    quant_context *ctx = quant_context_new(NULL);
    request r = {.base = {.dtype = QUANT_F32, .rms = 0.02, .ratio = 1}};
    r.specs = calloc(MAX_TENSORS, sizeof *r.specs);
    quant_status s = QUANT_ENOMEM;
    if (ctx && r.specs) {
        quant_output_guard_signals();
        s = parse(ctx, argc, argv, &r);
        quant_context_set_threads(ctx, r.threads);
        s = s == QUANT_OK ? write_bank(ctx, &r) : s;
    }
    if (s != QUANT_OK) {
        fprintf(stderr, "make_bank: %s\n", quant_context_message(ctx));
    }
    for (size_t i = 0; r.specs && i < r.count; i++) {
        free((char *)(uintptr_t)r.specs[i].name);
    }
    free(r.specs);
    quant_context_free(ctx);
    return quant_status_exit(s);
}
