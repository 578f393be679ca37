/* SPDX-License-Identifier: Apache-2.0 */
/* scheme_options.c - the options of a scheme string, one row each. */
#include "quant/scheme_options.h"

#include <assert.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const rule_words[] = {"absmax", "mse", "percentile", "entropy", NULL};
static const char *const range_words[] = {"narrow", "half", "full", NULL};
static const char *const store_words[] = {"f32", "f16", "bf16", NULL};
static const char *const table_words[] = {"f32", "f16", "bf16", "int8", NULL};
static const char *const mode_words[] = {"kmeans", "uniform", "unique", NULL};
static const char *const act_words[] = {"float", "token", "static", NULL};
static const char *const obs_words[] = {"minmax", "ema", "percentile", "mse", "entropy", NULL};

bool quant_scheme_has_scales(const quant_scheme *s)
{
    return s->family == QUANT_FAMILY_LINEAR ||
           (s->family == QUANT_FAMILY_CODEBOOK &&
            (s->table_store == QUANT_STORE_I8 || s->channel_scale));
}

quant_store quant_scheme_default_store(const quant_scheme *s)
{
    bool narrow = s->bits < 8 && s->table_store != QUANT_STORE_I8;
    return narrow && quant_scheme_has_scales(s) ? QUANT_STORE_F16 : QUANT_STORE_F32;
}

void quant_scheme_defaults(quant_scheme *s)
{
    bool codebook = s->family == QUANT_FAMILY_CODEBOOK;
    s->axis = s->stack = 0;
    s->asymmetric = false;
    s->range = QUANT_RANGE_NARROW;
    s->rule = QUANT_SCALE_ABSMAX;
    s->percentile = 100.0;
    bool activations = s->activation.kind != QUANT_ACTIVATION_FLOAT;
    s->table_store = !codebook ? QUANT_STORE_F32 : activations ? QUANT_STORE_I8 : QUANT_STORE_F16;
    s->activation.kind = activations ? QUANT_ACTIVATION_TOKEN : QUANT_ACTIVATION_FLOAT;
    s->activation.rule = QUANT_OBSERVER_MINMAX;
    s->activation.asymmetric = false;
    s->activation.percentile = 100.0;
    s->activation.smooth = 0;
    s->mode = QUANT_MODE_KMEANS;
    s->dim = 1;
    s->channel_scale = false;
}

bool quant_scheme_parse_int(const char *text, long lowest, long highest, long *value)
{
    char *end;
    if (!(text[0] == '-' || (text[0] >= '0' && text[0] <= '9')) || strlen(text) > 11) {
        return false;
    }
    *value = strtol(text, &end, 10);
    return *end == '\0' && end != text && *value >= lowest && *value <= highest;
}

/* ---- options: a reader of the value, a writer that says whether it is a default ---- */

static bool read_axis(quant_scheme *s, const char *v)
{
    long n;
    bool ok = quant_scheme_parse_int(v, -QUANT_SCHEME_AXES, QUANT_SCHEME_AXES - 1, &n);
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
    bool ok = quant_scheme_parse_int(v, 0, QUANT_SCHEME_AXES, &n);
    s->stack = ok ? (int)n : s->stack;
    return ok;
}

static bool write_stack(const quant_scheme *s, char *v, size_t n)
{
    snprintf(v, n, "%d", s->stack);
    return s->stack != 0;
}

/* Of the activations where there are any. */
static bool read_asym(quant_scheme *s, const char *v)
{
    bool activations = s->activation.kind != QUANT_ACTIVATION_FLOAT;
    *(activations ? &s->activation.asymmetric : &s->asymmetric) = v[0] == '\0';
    return v[0] == '\0';
}

static bool write_asym(const quant_scheme *s, char *v, size_t n)
{
    snprintf(v, n, "%s", "");
    return s->asymmetric || s->activation.asymmetric;
}

static bool read_dim(quant_scheme *s, const char *v)
{
    long n;
    bool ok = quant_scheme_parse_int(v, 1, 4, &n) && n != 3;
    s->dim = ok ? (int)n : s->dim;
    return ok;
}

static bool write_dim(const quant_scheme *s, char *v, size_t n)
{
    snprintf(v, n, "%d", s->dim);
    return s->dim != 1;
}

static bool read_pcs(quant_scheme *s, const char *v)
{
    s->channel_scale = v[0] == '\0';
    return s->channel_scale;
}

static bool write_pcs(const quant_scheme *s, char *v, size_t n)
{
    snprintf(v, n, "%s", "");
    return s->channel_scale;
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

int quant_scheme_percent_decimals(double percent, uint64_t *digits, uint64_t *unit)
{
    double scale = 1.0;
    int decimals = 0;
    while (decimals < 12 && rint(percent * scale) / scale != percent) {
        scale *= 10.0;
        decimals++;
    }
    *digits = (uint64_t)rint(percent * scale);
    *unit = (uint64_t)scale;
    return decimals;
}

static void print_percent(double percent, char *v, size_t n)
{
    uint64_t digits, unit;
    int decimals = quant_scheme_percent_decimals(percent, &digits, &unit);
    if (decimals == 0) {
        snprintf(v, n, "%llu", (unsigned long long)digits);
    } else {
        snprintf(v, n, "%llu.%0*llu", (unsigned long long)(digits / unit), decimals,
                 (unsigned long long)(digits % unit));
    }
}

static const char rank[] = "percentile:";

static int word_of(const char *const *words, const char *text)
{
    int i = 0;
    while (words[i] && strcmp(words[i], text) != 0) {
        i++;
    }
    return words[i] ? i : -1;
}

/* A word, or "percentile:P" for the word that is `percentile`. */
static bool read_rule(const char *const *words, unsigned percentile, const char *v, unsigned *rule,
                      double *percent)
{
    if (strncmp(v, rank, sizeof rank - 1) == 0) {
        *rule = percentile;
        return parse_percent(v + sizeof rank - 1, percent);
    }
    int i = word_of(words, v);
    *rule = i >= 0 ? (unsigned)i : *rule;
    return i >= 0 && (unsigned)i != percentile;
}

static void write_rule(const char *word, bool percentile, double percent, char *v, size_t n)
{
    char p[32];
    print_percent(percent, p, sizeof p);
    snprintf(v, n, "%s%s%s", word, percentile ? ":" : "", percentile ? p : "");
}

static bool read_scale(quant_scheme *s, const char *v)
{
    unsigned rule = s->rule;
    bool ok = read_rule(rule_words, QUANT_SCALE_PERCENTILE, v, &rule, &s->percentile);
    s->rule = (quant_scale_rule)rule;
    return ok;
}

static bool write_scale(const quant_scheme *s, char *v, size_t n)
{
    write_rule(rule_words[s->rule], s->rule == QUANT_SCALE_PERCENTILE, s->percentile, v, n);
    return s->rule != QUANT_SCALE_ABSMAX;
}

static bool read_act(quant_scheme *s, const char *v)
{
    int i = word_of(act_words, v);
    s->activation.kind = i > 0 ? (quant_activation_kind)i : s->activation.kind;
    return i > 0;
}

static bool write_act(const quant_scheme *s, char *v, size_t n)
{
    snprintf(v, n, "%s", act_words[s->activation.kind]);
    return s->activation.kind != QUANT_ACTIVATION_TOKEN;
}

static bool read_obs(quant_scheme *s, const char *v)
{
    quant_activation *how = &s->activation;
    unsigned rule = how->rule;
    bool ok = read_rule(obs_words, QUANT_OBSERVER_PERCENTILE, v, &rule, &how->percentile);
    how->rule = (quant_observer_rule)rule;
    return ok;
}

static bool write_obs(const quant_scheme *s, char *v, size_t n)
{
    const quant_activation *how = &s->activation;
    write_rule(obs_words[how->rule], how->rule == QUANT_OBSERVER_PERCENTILE, how->percentile, v, n);
    return how->rule != QUANT_OBSERVER_MINMAX;
}

static bool read_smooth(quant_scheme *s, const char *v)
{
    bool search = strcmp(v, "search") == 0;
    double alpha = QUANT_SMOOTH_SEARCH;
    bool ok = search || (parse_percent(v, &alpha) && alpha <= 1);
    s->activation.smooth = ok ? alpha : 0;
    return ok;
}

static bool write_smooth(const quant_scheme *s, char *v, size_t n)
{
    if (s->activation.smooth > 0) {
        print_percent(s->activation.smooth, v, n);
    } else {
        snprintf(v, n, "search");
    }
    return s->activation.smooth != 0;
}

/* Schemes that take an option: families of weights alone, and with activations beside. */
enum {
    LINEAR = 1 << QUANT_FAMILY_LINEAR,
    CODEBOOK = 1 << QUANT_FAMILY_CODEBOOK,
    W8A8 = LINEAR << QUANT_SCHEME_WITH_ACTIVATIONS,
    W4A8 = CODEBOOK << QUANT_SCHEME_WITH_ACTIVATIONS
};

bool quant_scheme_option_takes(const quant_scheme_option *option, const quant_scheme *s)
{
    bool activations = s->activation.kind != QUANT_ACTIVATION_FLOAT;
    int shift = (int)s->family + (activations ? QUANT_SCHEME_WITH_ACTIVATIONS : 0);
    return option->families >> shift & 1;
}

#define WORDS(words, member) NULL, NULL, words, offsetof(quant_scheme, member)
#define FUNCTIONS(name) read_##name, write_##name, NULL, 0
static const quant_scheme_option options[] = {
    {"axis", "channel axis of one matrix; negative counts from the end", "0 (default), 1, -1 ...",
     LINEAR | CODEBOOK, FUNCTIONS(axis)},
    {"stack", "leading axes that index independent matrices (at most rank - 2)",
     "0 (default), 1 ...", LINEAR | CODEBOOK | W8A8 | W4A8, FUNCTIONS(stack)},
    {"asym", "zero point, range from min(0, min w) to max(0, max w); w8a8, w4a8: of activations",
     "(no value)", LINEAR | W8A8 | W4A8, FUNCTIONS(asym)},
    {"scale", "how the range is chosen", "absmax (default), mse, percentile:P, entropy",
     LINEAR | W8A8, FUNCTIONS(scale)},
    {"range", "codes of a symmetric scheme", "narrow (default), half, full", LINEAR | W8A8,
     WORDS(range_words, range)},
    {"store", "type of stored scales; a codebook has them with lut=int8 or pcs",
     "f32 (default at 8 bits), f16 (default below), bf16", LINEAR | CODEBOOK | W8A8 | W4A8,
     WORDS(store_words, store)},
    {"lut", "type of table entries; int8: times one scale per table",
     "f16 (default), bf16, f32, int8", CODEBOOK, WORDS(table_words, table_store)},
    {"mode", "how a table is found", "kmeans (default, the optimum), uniform, unique",
     CODEBOOK | W4A8,
     WORDS(mode_words, mode)},
    {"dim", "a code names a vector of weights of a channel: b/dim bits a weight",
     "1 (default), 2, 4", CODEBOOK, FUNCTIONS(dim)},
    {"pcs", "per-channel scale: channels divided by their max|w| share a table", "(no value)",
     CODEBOOK, FUNCTIONS(pcs)},
    {"act", "scale of activations: each token's own, or fixed by calibration",
     "token (default), static", W8A8 | W4A8, FUNCTIONS(act)},
    {"obs", "how a static scale is chosen", "minmax (default), ema, percentile:P, mse, entropy",
     W8A8 | W4A8, FUNCTIONS(obs)},
    {"smooth", "ranges moved from input channels to weights: SmoothQuant's alpha",
     "a number in (0, 1], search; default: none", W8A8 | W4A8, FUNCTIONS(smooth)},
};
enum { OPTIONS = sizeof options / sizeof *options };

const quant_scheme_option *quant_scheme_option_row(int i)
{
    return i >= 0 && i < (int)OPTIONS ? &options[i] : NULL;
}

static_assert(sizeof(quant_range) == sizeof(unsigned) && sizeof(quant_store) == sizeof(unsigned) &&
                  sizeof(quant_codebook_mode) == sizeof(unsigned),
              "word options are read and written as unsigned");

static unsigned word_index(const quant_scheme *s, size_t field)
{
    unsigned index;
    memcpy(&index, (const char *)s + field, sizeof index);
    return index;
}

bool quant_scheme_option_read(const quant_scheme_option *row, quant_scheme *s, const char *value)
{
    if (!row->words) {
        return row->read(s, value);
    }
    for (unsigned i = 0; row->words[i]; i++) {
        if (strcmp(row->words[i], value) == 0) {
            memcpy((char *)s + row->field, &i, sizeof i);
            return true;
        }
    }
    return false;
}

bool quant_scheme_option_write(const quant_scheme_option *row, const quant_scheme *s, char *value,
                               size_t n)
{
    if (!row->words) {
        return row->write(s, value, n);
    }
    quant_scheme plain = *s;
    quant_scheme_defaults(&plain);
    plain.store = quant_scheme_default_store(s);
    snprintf(value, n, "%s", row->words[word_index(s, row->field)]);
    return word_index(s, row->field) != word_index(&plain, row->field);
}
