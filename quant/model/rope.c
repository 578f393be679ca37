/* SPDX-License-Identifier: GPL-3.0-or-later */
/* rope.c - how fast the pairs of a head turn: what a configuration says of it. Kinds that are not
 * computed here (yarn, dynamic, longrope) and keys that no kind here reads are refused. */
#include <math.h>
#include <string.h>

#include "quant/internal.h"
#include "quant/model/config.h"
#include "quant/model/ops.h"

enum { ALL_KINDS = -1 };

/* The numbers that an object may hold, and the kind that needs each. */
static const struct {
    const char *name;
    size_t offset;
    int kind;
} numbers[] = {
    {"rope_theta", offsetof(model_rope, theta), ALL_KINDS},
    {"factor", offsetof(model_rope, factor), MODEL_ROPE_LINEAR},
    {"factor", offsetof(model_rope, factor), MODEL_ROPE_LLAMA3},
    {"low_freq_factor", offsetof(model_rope, low), MODEL_ROPE_LLAMA3},
    {"high_freq_factor", offsetof(model_rope, high), MODEL_ROPE_LLAMA3},
    {"original_max_position_embeddings", offsetof(model_rope, length), MODEL_ROPE_LLAMA3},
};
enum { NUMBERS = sizeof numbers / sizeof *numbers };

static quant_status read_kind(const model_settings *s, const char *key, const json_t *object,
                              model_rope *rope)
{
    static const char *const names[] = {[MODEL_ROPE_PLAIN] = "default",
                                        [MODEL_ROPE_LINEAR] = "linear",
                                        [MODEL_ROPE_LLAMA3] = "llama3"};
    const json_t *j = json_object_get(object, "rope_type");
    j = j ? j : json_object_get(object, "type"); /* its older name */
    const char *word = j ? json_string_value(j) : names[MODEL_ROPE_PLAIN];
    for (int k = 0; word && k < 3; k++) {
        if (strcmp(word, names[k]) == 0) {
            rope->kind = (model_rope_kind)k;
            return QUANT_OK;
        }
    }
    return quant_fail(s->ctx, QUANT_EUNSUPPORTED, "%s: rope_type: expected default, linear or "
                      "llama3, found \"%.60s\"", key, word ? word : "(no text)");
}

/* Every key of the object is a number that its kind reads, its type, or says nothing. */
static quant_status check_keys(const model_settings *s, const char *key, const json_t *object,
                               const model_rope *rope)
{
    const char *name;
    json_t *j;
    json_object_foreach((json_t *)(uintptr_t)object, name, j) {
        quant_metadata v = model_json_value(j);
        bool known = v.kind == QUANT_METADATA_ABSENT || strcmp(name, "rope_type") == 0 ||
                     strcmp(name, "type") == 0 ||
                     (strcmp(name, "partial_rotary_factor") == 0 && v.real == 1);
        for (size_t i = 0; i < NUMBERS; i++) {
            known = known || (strcmp(name, numbers[i].name) == 0 &&
                              (numbers[i].kind == ALL_KINDS || numbers[i].kind == (int)rope->kind));
        }
        if (!known) {
            return quant_fail(s->ctx, QUANT_EUNSUPPORTED, "%s: %.60s: expected it to be absent, "
                              "found a value: the forward pass does not know it", key, name);
        }
    }
    return QUANT_OK;
}

/* rope->theta holds what stands elsewhere. */
static quant_status read_object(const model_settings *s, const char *key, const json_t *object,
                                model_rope *rope)
{
    if (!json_is_object(object)) {
        return quant_fail(s->ctx, QUANT_ETYPE, "%s: expected an object, found another type", key);
    }
    QUANT_TRY(read_kind(s, key, object, rope));
    QUANT_TRY(check_keys(s, key, object, rope));
    for (size_t i = 0; i < NUMBERS; i++) {
        if (numbers[i].kind != ALL_KINDS && numbers[i].kind != (int)rope->kind) {
            continue;
        }
        quant_metadata v = model_json_value(json_object_get(object, numbers[i].name));
        bool number = v.kind == QUANT_METADATA_INTEGER || v.kind == QUANT_METADATA_REAL;
        if (v.kind == QUANT_METADATA_ABSENT && numbers[i].kind == ALL_KINDS) {
            continue;
        }
        if (!number || !(v.real > 0 && isfinite(v.real))) {
            return quant_fail(s->ctx, number ? QUANT_ERANGE : QUANT_ETYPE, "%s: %s: expected a "
                              "number above 0, found %s", key, numbers[i].name,
                              number ? "another" : "none");
        }
        memcpy((char *)rope + numbers[i].offset, &v.real, sizeof v.real);
    }
    if (rope->kind == MODEL_ROPE_LLAMA3 && !(rope->high > rope->low)) {
        return quant_fail(s->ctx, QUANT_ERANGE, "%s: high_freq_factor: expected more than the "
                          "low_freq_factor %g, found %g", key, rope->low, rope->high);
    }
    return QUANT_OK;
}

static quant_status read_parameters(const model_settings *s, const json_t *given)
{
    static const char *const kinds[] = {"full_attention", "sliding_attention"};
    model_rope *rope = s->model->rope;
    bool nested = json_object_get(given, kinds[0]) || json_object_get(given, kinds[1]);
    if (!nested) {
        QUANT_TRY(read_object(s, "rope_parameters", given, &rope[0]));
        rope[1] = rope[0];
        return QUANT_OK;
    }
    for (int k = 0; k < 2; k++) {
        const json_t *one = json_object_get(given, kinds[k]);
        if (one && !json_is_null(one)) {
            QUANT_TRY(read_object(s, kinds[k], one, &rope[k]));
        }
    }
    return QUANT_OK;
}

quant_status model_rope_read(const model_settings *s)
{
    quant_model_sizes *z = &s->model->sizes;
    model_rope *rope = s->model->rope;
    bool own = z->theta_local > 0; /* local layers are spared from scaling where they have a base */
    const json_t *given = s->json ? json_object_get(s->json, "rope_parameters") : NULL;
    const json_t *scaling = s->json ? json_object_get(s->json, "rope_scaling") : NULL;
    rope[0] = (model_rope){.kind = MODEL_ROPE_PLAIN, .theta = z->theta};
    rope[1] = (model_rope){.kind = MODEL_ROPE_PLAIN, .theta = own ? z->theta_local : z->theta};
    if (given && !json_is_null(given)) {
        QUANT_TRY(read_parameters(s, given));
        if (scaling && !json_is_null(scaling)) {
            return quant_fail(s->ctx, QUANT_EUNSUPPORTED, "rope_scaling: expected it to be absent "
                              "beside rope_parameters, found a value");
        }
    } else if (scaling && !json_is_null(scaling)) {
        QUANT_TRY(read_object(s, "rope_scaling", scaling, &rope[0]));
        rope[1] = own ? rope[1] : rope[0];
    }
    z->theta = rope[0].theta;
    z->theta_local = rope[1].theta;
    return QUANT_OK;
}

/* Radians that pair i turns by from a position to the next. */
static double speed(const model_rope *r, size_t i, size_t head_dim)
{
    double f = pow(r->theta, -2.0 * (double)i / (double)head_dim);
    if (r->kind == MODEL_ROPE_PLAIN) {
        return f;
    }
    double turns = r->kind == MODEL_ROPE_LLAMA3 ? r->length * f / (2 * 3.14159265358979323846) : 0;
    if (r->kind == MODEL_ROPE_LINEAR || turns < r->low) {
        return f / r->factor;
    }
    if (turns > r->high) {
        return f;
    }
    double kept = (turns - r->low) / (r->high - r->low);
    return (1 - kept) * f / r->factor + kept * f;
}

void model_rotary_fill(float *table, size_t length, size_t head_dim, const model_rope *rope)
{
    for (size_t i = 0; i < head_dim / 2; i++) {
        double step = speed(rope, i, head_dim);
        for (size_t p = 0; p < length; p++) {
            float *pair = table + (p * (head_dim / 2) + i) * 2;
            pair[0] = (float)cos((double)p * step);
            pair[1] = (float)sin((double)p * step);
        }
    }
}
