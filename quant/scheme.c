/* SPDX-License-Identifier: Apache-2.0 */
/* scheme.c - the grammar of scheme strings as two tables, read by parser, printer and help. */
#include "quant/scheme.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/internal.h"

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
} scheme_row;

#define INT_BITS "2,3,4,8"
#define LUT_BITS "1,2,3,4,6,8"
static const scheme_row schemes[] = {
    {"f16", "IEEE half precision, element by element", "", "f16", "", "f16", QUANT_FAMILY_FLOAT,
     QUANT_PER_TENSOR, 0, QUANT_STORE_F16},
    {"bf16", "bfloat16, element by element", "", "bf16", "", "bf16", QUANT_FAMILY_FLOAT,
     QUANT_PER_TENSOR, 0, QUANT_STORE_BF16},
    {"intB:tensor", "linear codes, one scale for the tensor", INT_BITS, "int", "tensor",
     "int8:tensor", QUANT_FAMILY_LINEAR, QUANT_PER_TENSOR, 0, QUANT_STORE_F32},
    {"intB:channel", "linear codes, one scale per channel", INT_BITS, "int", "channel",
     "int8:channel", QUANT_FAMILY_LINEAR, QUANT_PER_CHANNEL, 0, QUANT_STORE_F32},
    {"intB:block=N", "linear codes, one scale per N weights of a channel", INT_BITS, "int", "block",
     "int4:block=32", QUANT_FAMILY_LINEAR, QUANT_PER_BLOCK, 32, QUANT_STORE_F32},
    {"lutB:tensor", "codebook, one table of 2^B entries for the tensor", LUT_BITS, "lut", "tensor",
     "lut4:tensor", QUANT_FAMILY_CODEBOOK, QUANT_PER_TENSOR, 0, QUANT_STORE_F32},
    {"lutB:group=N", "codebook, one table per N consecutive channels", LUT_BITS, "lut", "group",
     "lut4:group=32", QUANT_FAMILY_CODEBOOK, QUANT_PER_GROUP, 32, QUANT_STORE_F32},
};
enum { SCHEMES = sizeof schemes / sizeof *schemes };

static const char *const range_words[] = {"narrow", "half", "full", NULL};
static const char *const store_words[] = {"f32", "f16", "bf16", NULL};
static const char *const mode_words[] = {"kmeans", "uniform", "unique", NULL};

/* Default of store=: f32 for 8-bit scales, f16 below. */
static quant_store default_store(const quant_scheme *s)
{
    return s->family == QUANT_FAMILY_LINEAR && s->bits < 8 ? QUANT_STORE_F16 : QUANT_STORE_F32;
}

static bool parse_int(const char *text, long lowest, long highest, long *value)
{
    char *end;
    if (!(text[0] == '-' || (text[0] >= '0' && text[0] <= '9')) || strlen(text) > 11) {
        return false;
    }
    *value = strtol(text, &end, 10);
    return *end == '\0' && end != text && *value >= lowest && *value <= highest;
}

static bool parse_word(const char *const *words, const char *text, int *index)
{
    for (int i = 0; words[i]; i++) {
        if (strcmp(words[i], text) == 0) {
            *index = i;
            return true;
        }
    }
    return false;
}

/* ---- options: each has a reader of its value and a writer that says whether it is a default ---- */

static bool read_axis(quant_scheme *s, const char *v)
{
    long n;
    bool ok = parse_int(v, -QUANT_SCHEME_AXES, QUANT_SCHEME_AXES - 1, &n);
    s->axis = ok ? (int)n : s->axis;
    return ok;
}

static bool write_axis(const quant_scheme *s, char *v, size_t n)
{
    snprintf(v, n, "%d", s->axis);
    return s->axis != 0;
}

static bool read_stack(quant_scheme *s, const char *v)
{
    long n;
    bool ok = parse_int(v, 0, QUANT_SCHEME_AXES, &n);
    s->stack = ok ? (int)n : s->stack;
    return ok;
}

static bool write_stack(const quant_scheme *s, char *v, size_t n)
{
    snprintf(v, n, "%d", s->stack);
    return s->stack != 0;
}

static bool read_asym(quant_scheme *s, const char *v)
{
    s->asymmetric = v[0] == '\0';
    return s->asymmetric;
}

static bool write_asym(const quant_scheme *s, char *v, size_t n)
{
    snprintf(v, n, "%s", "");
    return s->asymmetric;
}

/* A percentage with at most 12 decimals, without strtod, whose decimal point is the locale's.
 * Digits as an integer below 2^53 divided by a power of ten below 10^15: correctly rounded. */
static bool parse_percent(const char *v, double *percent)
{
    uint64_t digits = 0;
    double scale = 1.0;
    int decimals = -1, count = 0;
    for (; *v && decimals < 12; v++) {
        if (*v == '.' && decimals < 0) {
            decimals = 0;
        } else if (*v >= '0' && *v <= '9' && count++ < 15) {
            digits = digits * 10 + (uint64_t)(*v - '0');
            decimals += decimals >= 0;
            scale *= decimals > 0 ? 10.0 : 1.0;
        } else {
            return false;
        }
    }
    *percent = (double)digits / scale;
    return *v == '\0' && count > 0 && *percent > 0.0 && *percent <= 100.0;
}

/* Fewest decimals that read back as the same double. */
static void print_percent(double percent, char *v, size_t n)
{
    double scale = 1.0;
    int decimals = 0;
    while (decimals < 12 && rint(percent * scale) / scale != percent) {
        scale *= 10.0;
        decimals++;
    }
    uint64_t digits = (uint64_t)rint(percent * scale), unit = (uint64_t)scale;
    if (decimals == 0) {
        snprintf(v, n, "%llu", (unsigned long long)digits);
    } else {
        snprintf(v, n, "%llu.%0*llu", (unsigned long long)(digits / unit), decimals,
                 (unsigned long long)(digits % unit));
    }
}

static bool read_scale(quant_scheme *s, const char *v)
{
    static const char rank[] = "percentile:";
    if (strncmp(v, rank, sizeof rank - 1) == 0) {
        s->rule = QUANT_SCALE_PERCENTILE;
        return parse_percent(v + sizeof rank - 1, &s->percentile);
    }
    s->rule = strcmp(v, "mse") == 0 ? QUANT_SCALE_MSE : QUANT_SCALE_ABSMAX;
    return s->rule == QUANT_SCALE_MSE || strcmp(v, "absmax") == 0;
}

static bool write_scale(const quant_scheme *s, char *v, size_t n)
{
    char p[32];
    print_percent(s->percentile, p, sizeof p);
    if (s->rule == QUANT_SCALE_PERCENTILE) {
        snprintf(v, n, "percentile:%s", p);
    } else {
        snprintf(v, n, "%s", s->rule == QUANT_SCALE_MSE ? "mse" : "absmax");
    }
    return s->rule != QUANT_SCALE_ABSMAX;
}

static bool read_range(quant_scheme *s, const char *v)
{
    int i;
    bool ok = parse_word(range_words, v, &i);
    s->range = ok ? (quant_range)i : s->range;
    return ok;
}

static bool write_range(const quant_scheme *s, char *v, size_t n)
{
    snprintf(v, n, "%s", range_words[s->range]);
    return s->range != QUANT_RANGE_NARROW;
}

static bool read_store(quant_scheme *s, const char *v)
{
    int i;
    bool ok = parse_word(store_words, v, &i);
    s->store = ok ? (quant_store)i : s->store;
    return ok;
}

static bool write_store(const quant_scheme *s, char *v, size_t n)
{
    snprintf(v, n, "%s", store_words[s->store]);
    return s->store != default_store(s);
}

static bool read_lut(quant_scheme *s, const char *v)
{
    int i;
    bool ok = parse_word(store_words, v, &i);
    s->table_store = ok ? (quant_store)i : s->table_store;
    return ok;
}

static bool write_lut(const quant_scheme *s, char *v, size_t n)
{
    snprintf(v, n, "%s", store_words[s->table_store]);
    return s->table_store != QUANT_STORE_F16;
}

static bool read_mode(quant_scheme *s, const char *v)
{
    int i;
    bool ok = parse_word(mode_words, v, &i);
    s->mode = ok ? (quant_codebook_mode)i : s->mode;
    return ok;
}

static bool write_mode(const quant_scheme *s, char *v, size_t n)
{
    snprintf(v, n, "%s", mode_words[s->mode]);
    return s->mode != QUANT_MODE_KMEANS;
}

enum { LINEAR = 1 << QUANT_FAMILY_LINEAR, CODEBOOK = 1 << QUANT_FAMILY_CODEBOOK };
typedef struct option_row {
    const char *key;
    const char *meaning;
    const char *values;
    int families;      /* bit per family that takes it */
    bool (*read)(quant_scheme *s, const char *value);
    bool (*write)(const quant_scheme *s, char *value, size_t n); /* false: default, leave out */
} option_row;

static const option_row options[] = {
    {"axis", "channel axis of one matrix; negative counts from the end", "0 (default), 1, -1 ...",
     LINEAR | CODEBOOK, read_axis, write_axis},
    {"stack", "leading axes that index independent matrices", "0 (default), 1 ...",
     LINEAR | CODEBOOK, read_stack, write_stack},
    {"asym", "zero point, range from min(0, min w) to max(0, max w)", "(no value)", LINEAR, read_asym,
     write_asym},
    {"scale", "how the range is chosen", "absmax (default), mse, percentile:P", LINEAR, read_scale,
     write_scale},
    {"range", "codes of a symmetric scheme", "narrow (default), half, full", LINEAR, read_range,
     write_range},
    {"store", "type of stored scales", "f32 (default at 8 bits), f16 (default below), bf16", LINEAR,
     read_store, write_store},
    {"lut", "type of table entries", "f16 (default), bf16, f32", CODEBOOK, read_lut, write_lut},
    {"mode", "how a table is found", "kmeans (default, the optimum), uniform, unique", CODEBOOK,
     read_mode, write_mode},
};
enum { OPTIONS = sizeof options / sizeof *options };

/* True when text is the row's name; bits and size are filled. */
static bool match_row(const scheme_row *row, const char *text, long *bits, long *size)
{
    char want[32];
    *size = (long)row->size;
    *bits = 16;
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
    return rest[0] == '\0' || (row->size && rest[0] == '=' && parse_int(rest + 1, 1, INT32_MAX, size));
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
            s->percentile = 100.0;
            s->table_store = s->family == QUANT_FAMILY_CODEBOOK ? QUANT_STORE_F16 : QUANT_STORE_F32;
            s->store = s->family == QUANT_FAMILY_FLOAT ? schemes[i].store : default_store(s);
            return &schemes[i];
        }
    }
    return NULL;
}

static quant_status parse_option(quant_context *ctx, char *text, quant_scheme *s, unsigned *seen)
{
    char *value = strchr(text, '=');
    if (value) {
        *value++ = '\0';
    }
    for (int i = 0; i < OPTIONS; i++) {
        if (strcmp(options[i].key, text) != 0) {
            continue;
        }
        if (!(options[i].families & 1 << s->family)) {
            return quant_fail(ctx, QUANT_ESCHEME, "option %s: this scheme does not take it", text);
        }
        if (*seen & 1u << i) {
            return quant_fail(ctx, QUANT_ESCHEME, "option %s: given twice", text);
        }
        *seen |= 1u << i;
        if (!options[i].read(s, value ? value : "")) {
            return quant_fail(ctx, QUANT_ESCHEME, "option %s: expected %s, found '%s'", text,
                              options[i].values, value ? value : "");
        }
        return QUANT_OK;
    }
    return quant_fail(ctx, QUANT_ESCHEME, "option '%s': expected one of axis, stack, asym, scale, "
                      "range, store, lut, mode", text);
}

/* Combinations that would silently mean nothing. */
static quant_status check_whole(quant_context *ctx, const quant_scheme *s)
{
    if (s->asymmetric && s->range != QUANT_RANGE_NARROW) {
        return quant_fail(ctx, QUANT_ESCHEME, "range: applies to symmetric codes only, found asym");
    }
    if (s->granularity == QUANT_PER_TENSOR && s->axis != 0) {
        return quant_fail(ctx, QUANT_ESCHEME, "axis: a scheme per tensor has no channel axis");
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
                          "}:tensor|channel|block=N or lut{" LUT_BITS "}:tensor|group=N", copy);
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
    *scheme = s;
    return QUANT_OK;
}

static const scheme_row *row_of(const quant_scheme *s)
{
    for (int i = 0; i < SCHEMES; i++) {
        if (schemes[i].family == s->family && schemes[i].granularity == s->granularity &&
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
    if (row->size) {
        at += snprintf(text + at, QUANT_SCHEME_TEXT - (size_t)at, "=%u", s->size);
    }
    for (int i = 0; i < OPTIONS; i++) {
        bool takes = options[i].families & 1 << s->family;
        if (takes && options[i].write(s, value, sizeof value)) {
            at += snprintf(text + at, QUANT_SCHEME_TEXT - (size_t)at, ",%s%s%s", options[i].key,
                           value[0] ? "=" : "", value);
        }
    }
}

bool quant_scheme_grammar(int kind, int i, const char **pattern, const char **meaning,
                          const char **values)
{
    if (i < 0 || i >= (kind == 0 ? (int)SCHEMES : (int)OPTIONS)) {
        return false;
    }
    *pattern = kind == 0 ? schemes[i].pattern : options[i].key;
    *meaning = kind == 0 ? schemes[i].meaning : options[i].meaning;
    *values = kind == 0 ? schemes[i].values : options[i].values;
    return true;
}

const char *quant_scheme_example(int i)
{
    return i >= 0 && i < (int)SCHEMES ? schemes[i].example : NULL;
}

const char *quant_scheme_default_list(void)
{
    return "bf16;int8:tensor;int8:channel;int4:block=32;lut4:group=32;lut3:group=32;lut2:group=32";
}

bool quant_scheme_widen(quant_scheme *s)
{
    quant_store *store = s->family == QUANT_FAMILY_LINEAR     ? &s->store
                         : s->family == QUANT_FAMILY_CODEBOOK ? &s->table_store
                                                              : NULL;
    if (!store || *store == QUANT_STORE_F32) {
        return false;
    }
    *store = QUANT_STORE_F32;
    return true;
}
