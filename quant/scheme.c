/* SPDX-License-Identifier: Apache-2.0 */
/* scheme.c - the grammar of scheme strings as two tables, read by parser, printer and help. */
#include "quant/scheme.h"

#include <stdio.h>
#include <string.h>

#include "quant/internal.h"
#include "quant/scheme_options.h"

/* One kind of scheme. `pattern` begins with the words that are matched; B stands for the bits. */
typedef struct scheme_row {
    const char *pattern;
    const char *meaning;
    const char *values;     /* accepted bits, comma separated; "" when the name has none */
    const char *stem;       /* text before the bits, or the whole name */
    const char *word;       /* text behind ':'; "" when there is none */
    const char *example;
    quant_family family;
    quant_granularity granularity;
    uint32_t size;          /* default of "=N"; 0: takes none */
    quant_store store;
    int bits;               /* 0: in the name */
    quant_activation_kind activations;
} scheme_row;

/* The default of store= depends on options that may follow. */
#define UNSAID ((quant_store)99)

#define INT_BITS "2,3,4,8"
#define LUT_BITS "1,2,3,4,6,8"
static const scheme_row schemes[] = {
    {"f16", "IEEE half precision, element by element", "", "f16", "", "f16", QUANT_FAMILY_FLOAT,
     QUANT_PER_TENSOR, 0, QUANT_STORE_F16, 16, 0},
    {"bf16", "bfloat16, element by element", "", "bf16", "", "bf16", QUANT_FAMILY_FLOAT,
     QUANT_PER_TENSOR, 0, QUANT_STORE_BF16, 16, 0},
    {"intB:tensor", "linear codes, one scale for the tensor", INT_BITS, "int", "tensor",
     "int8:tensor", QUANT_FAMILY_LINEAR, QUANT_PER_TENSOR, 0, UNSAID, 0, 0},
    {"intB:channel", "linear codes, one scale per channel", INT_BITS, "int", "channel",
     "int8:channel", QUANT_FAMILY_LINEAR, QUANT_PER_CHANNEL, 0, UNSAID, 0, 0},
    {"intB:block=N", "linear codes, one scale per N weights of a channel", INT_BITS, "int", "block",
     "int4:block=32", QUANT_FAMILY_LINEAR, QUANT_PER_BLOCK, 32, UNSAID, 0, 0},
    {"lutB:tensor", "codebook, one table of 2^B entries for the tensor", LUT_BITS, "lut", "tensor",
     "lut4:tensor", QUANT_FAMILY_CODEBOOK, QUANT_PER_TENSOR, 0, UNSAID, 0, 0},
    {"lutB:group=N", "codebook, one table per N consecutive channels", LUT_BITS, "lut", "group",
     "lut4:group=32", QUANT_FAMILY_CODEBOOK, QUANT_PER_GROUP, 32, UNSAID, 0, 0},
    {"w8a8", "weights int8:channel, activations 8 bit", "", "w8a8", "", "w8a8",
     QUANT_FAMILY_LINEAR, QUANT_PER_CHANNEL, 0, UNSAID, 8, QUANT_ACTIVATION_TOKEN},
    {"w4a8", "weights lut4:group=32,lut=int8, activations 8 bit", "", "w4a8", "", "w4a8",
     QUANT_FAMILY_CODEBOOK, QUANT_PER_GROUP, 32, UNSAID, 4, QUANT_ACTIVATION_TOKEN},
};
enum { SCHEMES = sizeof schemes / sizeof *schemes };

/* True when text is the row's name; bits and size are filled. */
static bool match_row(const scheme_row *row, const char *text, long *bits, long *size)
{
    char want[32];
    *size = (long)row->size;
    *bits = row->bits;
    if (row->word[0] == '\0') {
        return strcmp(text, row->stem) == 0;
    }
    size_t stem = strlen(row->stem);
    if (strncmp(text, row->stem, stem) != 0 || text[stem] < '1' || text[stem] > '9') {
        return false;
    }
    *bits = text[stem] - '0';
    snprintf(want, sizeof want, ":%s", row->word);
    const char *rest = text + stem + 1;
    size_t word = strlen(want);
    if (!strchr(row->values, text[stem]) || strncmp(rest, want, word) != 0) {
        return false;
    }
    rest += word;
    return rest[0] == '\0' || (row->size && rest[0] == '=' &&
                               quant_scheme_parse_int(rest + 1, 1, INT32_MAX, size));
}

static const scheme_row *find_row(const char *text, quant_scheme *s)
{
    for (int i = 0; i < SCHEMES; i++) {
        long bits, size;
        if (match_row(&schemes[i], text, &bits, &size)) {
            memset(s, 0, sizeof *s);
            s->family = schemes[i].family;
            s->granularity = schemes[i].granularity;
            s->bits = (int)bits;
            s->size = (uint32_t)size;
            s->activation.kind = schemes[i].activations;
            quant_scheme_defaults(s);
            s->store = schemes[i].store;
            return &schemes[i];
        }
    }
    return NULL;
}

static quant_status refuse_option(quant_context *ctx, const char *text)
{
    char keys[96] = "";
    const quant_scheme_option *row;
    for (int i = 0; (row = quant_scheme_option_row(i)) != NULL; i++) {
        size_t used = strlen(keys);
        snprintf(keys + used, sizeof keys - used, "%s%s", i ? ", " : "", row->key);
    }
    return quant_fail(ctx, QUANT_ESCHEME, "option '%s': expected one of %s", text, keys);
}

static quant_status parse_option(quant_context *ctx, char *text, quant_scheme *s, unsigned *seen)
{
    char *value = strchr(text, '=');
    if (value) {
        *value++ = '\0';
    }
    const quant_scheme_option *row;
    for (int i = 0; (row = quant_scheme_option_row(i)) != NULL; i++) {
        if (strcmp(row->key, text) != 0) {
            continue;
        }
        if (!quant_scheme_option_takes(row, s)) {
            return quant_fail(ctx, QUANT_ESCHEME, "option %s: this scheme does not take it", text);
        }
        if (*seen & 1u << i) {
            return quant_fail(ctx, QUANT_ESCHEME, "option %s: given twice", text);
        }
        *seen |= 1u << i;
        if (!quant_scheme_option_read(row, s, value ? value : "")) {
            return quant_fail(ctx, QUANT_ESCHEME, "option %s: expected %s, found '%s'", text,
                              row->values, value ? value : "");
        }
        return QUANT_OK;
    }
    return refuse_option(ctx, text);
}

/* Combinations that would silently mean nothing. */
static quant_status check_whole(quant_context *ctx, const quant_scheme *s)
{
    if (s->asymmetric && s->range != QUANT_RANGE_NARROW) {
        return quant_fail(ctx, QUANT_ESCHEME, "range: applies to symmetric codes only, found asym");
    }
    if (s->dim > 1 && s->mode != QUANT_MODE_KMEANS) {
        return quant_fail(ctx, QUANT_ESCHEME, "mode: vector codebooks (dim=) are found by kmeans");
    }
    if (s->granularity == QUANT_PER_TENSOR && !s->channel_scale && s->dim == 1 && s->axis != 0) {
        return quant_fail(ctx, QUANT_ESCHEME, "axis: a scheme per tensor has no channel axis");
    }
    if (s->activation.rule != QUANT_OBSERVER_MINMAX &&
        s->activation.kind != QUANT_ACTIVATION_STATIC) {
        return quant_fail(ctx, QUANT_ESCHEME, "obs: applies to act=static only, found act=token");
    }
    if (s->activation.smooth != 0 && s->activation.rule != QUANT_OBSERVER_MINMAX) {
        return quant_fail(ctx, QUANT_ESCHEME, "smooth: extremes are all that is known of channels, "
                          "expected obs=minmax");
    }
    if (s->store != UNSAID && s->family == QUANT_FAMILY_CODEBOOK && !quant_scheme_has_scales(s)) {
        return quant_fail(ctx, QUANT_ESCHEME, "store: a codebook has scales only with lut=int8 "
                          "or pcs");
    }
    return QUANT_OK;
}

quant_status quant_scheme_parse(quant_context *ctx, const char *text, quant_scheme *scheme)
{
    char copy[QUANT_SCHEME_TEXT * 2];
    quant_scheme s;
    unsigned seen = 0;
    if (!text || !scheme || strlen(text) >= sizeof copy) {
        return quant_fail(ctx, QUANT_ESCHEME, "scheme: expected a text below %zu bytes",
                          sizeof copy);
    }
    memcpy(copy, text, strlen(text) + 1);
    char *next = strchr(copy, ',');
    if (next) {
        *next++ = '\0';
    }
    if (!find_row(copy, &s)) {
        return quant_fail(ctx, QUANT_ESCHEME, "scheme '%s': expected f16, bf16, int{" INT_BITS
                          "}:tensor|channel|block=N, lut{" LUT_BITS "}:tensor|group=N, "
                          "w8a8 or w4a8", copy);
    }
    while (next) {
        char *option = next;
        next = strchr(option, ',');
        if (next) {
            *next++ = '\0';
        }
        QUANT_TRY(parse_option(ctx, option, &s, &seen));
    }
    QUANT_TRY(check_whole(ctx, &s));
    s.store = s.store == UNSAID ? quant_scheme_default_store(&s) : s.store;
    *scheme = s;
    return QUANT_OK;
}

static const scheme_row *row_of(const quant_scheme *s)
{
    bool activations = s->activation.kind != QUANT_ACTIVATION_FLOAT;
    for (int i = 0; i < SCHEMES; i++) {
        if (schemes[i].family == s->family && schemes[i].granularity == s->granularity &&
            (schemes[i].activations != QUANT_ACTIVATION_FLOAT) == activations &&
            (s->family != QUANT_FAMILY_FLOAT || schemes[i].store == s->store)) {
            return &schemes[i];
        }
    }
    return &schemes[0];
}

void quant_scheme_print(const quant_scheme *s, char text[QUANT_SCHEME_TEXT])
{
    const scheme_row *row = row_of(s);
    char value[48];
    int at = row->word[0] == '\0'
                 ? snprintf(text, QUANT_SCHEME_TEXT, "%s", row->stem)
                 : snprintf(text, QUANT_SCHEME_TEXT, "%s%d:%s", row->stem, s->bits, row->word);
    if (row->size && row->word[0] != '\0') {
        at += snprintf(text + at, QUANT_SCHEME_TEXT - (size_t)at, "=%u", s->size);
    }
    const quant_scheme_option *option;
    for (int i = 0; (option = quant_scheme_option_row(i)) != NULL; i++) {
        bool takes = quant_scheme_option_takes(option, s);
        if (takes && quant_scheme_option_write(option, s, value, sizeof value)) {
            at += snprintf(text + at, QUANT_SCHEME_TEXT - (size_t)at, ",%s%s%s", option->key,
                           value[0] ? "=" : "", value);
        }
    }
}

/* Bits that the rows of a family take. */
static bool bits_fit(const quant_scheme *s)
{
    const char *values = s->family == QUANT_FAMILY_LINEAR ? INT_BITS : LUT_BITS;
    return s->family == QUANT_FAMILY_FLOAT ? s->bits == 16
                                           : s->bits > 0 && s->bits < 10 &&
                                                 strchr(values, '0' + s->bits) != NULL;
}

static bool activation_fits(const quant_scheme *s, const scheme_row *row)
{
    const quant_activation *a = &s->activation;
    bool in_range = (unsigned)a->kind <= QUANT_ACTIVATION_STATIC &&
                    (unsigned)a->rule <= QUANT_OBSERVER_ENTROPY && a->percentile > 0.0 &&
                    a->percentile <= 100.0 &&
                    (a->smooth == QUANT_SMOOTH_SEARCH || (a->smooth >= 0 && a->smooth <= 1));
    bool none = row->activations == QUANT_ACTIVATION_FLOAT;
    bool as_named = none || (s->axis == 0 && s->bits == row->bits && !s->asymmetric &&
                             s->size == row->size);
    return in_range && as_named && none == (a->kind == QUANT_ACTIVATION_FLOAT);
}

quant_status quant_scheme_check(quant_context *ctx, const quant_scheme *s)
{
    bool in_range = (unsigned)s->family <= QUANT_FAMILY_CODEBOOK &&
                    (unsigned)s->granularity <= QUANT_PER_GROUP &&
                    (unsigned)s->range <= QUANT_RANGE_FULL &&
                    (unsigned)s->rule <= QUANT_SCALE_ENTROPY &&
                    (unsigned)s->store <= QUANT_STORE_BF16 &&
                    (unsigned)s->table_store <= QUANT_STORE_I8 &&
                    (unsigned)s->mode <= QUANT_MODE_UNIQUE &&
                    (s->dim == 1 || s->dim == 2 || s->dim == 4);
    const scheme_row *row = in_range ? row_of(s) : NULL;
    bool fits = in_range && bits_fit(s) && row->family == s->family && activation_fits(s, row) &&
                row->granularity == s->granularity && (row->size > 0) == (s->size > 0) &&
                s->axis >= -QUANT_SCHEME_AXES && s->axis < QUANT_SCHEME_AXES && s->stack >= 0 &&
                s->stack <= QUANT_SCHEME_AXES && s->percentile > 0.0 && s->percentile <= 100.0 &&
                (s->family != QUANT_FAMILY_FLOAT || s->store != QUANT_STORE_F32) &&
                (s->family == QUANT_FAMILY_CODEBOOK || s->table_store == QUANT_STORE_F32);
    return fits ? QUANT_OK
                : quant_fail(ctx, QUANT_ESCHEME, "scheme: expected one that quant_scheme_parse "
                             "filled, found other values");
}

quant_scheme quant_scheme_weights(const quant_scheme *s)
{
    quant_scheme weights = *s;
    memset(&weights.activation, 0, sizeof weights.activation);
    weights.activation.percentile = 100.0;
    return weights;
}

bool quant_scheme_grammar(int kind, int i, const char **pattern, const char **meaning,
                          const char **values)
{
    const quant_scheme_option *option = quant_scheme_option_row(i);
    if (kind == 0 ? i < 0 || i >= (int)SCHEMES : !option) {
        return false;
    }
    *pattern = kind == 0 ? schemes[i].pattern : option->key;
    *meaning = kind == 0 ? schemes[i].meaning : option->meaning;
    *values = kind == 0 ? schemes[i].values : option->values;
    return true;
}

const char *quant_scheme_example(int i)
{
    return i >= 0 && i < (int)SCHEMES ? schemes[i].example : NULL;
}

bool quant_scheme_takes_importance(const quant_scheme *s)
{
    return (s->family == QUANT_FAMILY_CODEBOOK && s->mode == QUANT_MODE_KMEANS) ||
           (s->family == QUANT_FAMILY_LINEAR && s->rule == QUANT_SCALE_MSE);
}

const char *quant_scheme_default_list(void)
{
    return "bf16;int8:tensor;int8:channel;int4:block=32;lut4:group=32;lut3:group=32;lut2:group=32";
}

bool quant_scheme_widen(quant_scheme *s)
{
    quant_store *store = quant_scheme_has_scales(s) ? &s->store : &s->table_store;
    if (s->family == QUANT_FAMILY_FLOAT || *store == QUANT_STORE_F32) {
        return false;
    }
    *store = QUANT_STORE_F32;
    return true;
}
