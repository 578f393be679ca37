/* SPDX-License-Identifier: GPL-3.0-or-later */
/* packed_write.c - two passes over the source: look at every tensor, then encode it. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "kernels/kernels.h"
#include "quant/bank/importance.h"
#include "quant/bank/packed_parts.h"
#include "quant/internal.h"
#include "quant/scheme_options.h"

enum { VALUE_BYTES = QUANT_SCHEME_TEXT + 21 * QUANT_MAX_RANK + 16 };

/* Everything that lives for one call. */
typedef struct pack {
    quant_context *ctx;
    quant_bank *bank;
    quant_pack_item *items;
    size_t count;
    quant_layout *layouts;              /* [count] */
    size_t (*parts)[QUANT_PARTS];       /* [count]: index in out; SIZE_MAX when absent */
    quant_safetensors_item *out;        /* [QUANT_PARTS * count] */
    size_t out_count;
    quant_safetensors_pair *pairs;      /* [2 * count + 1] */
    size_t pair_count;
    char *text;                         /* names of parts, keys and values of the metadata */
    size_t text_room, text_used;
    float *w;                           /* the largest tensor that is quantized */
    size_t w_room;
    float *importance;                  /* the largest that has importance */
    size_t importance_room;
    unsigned char *packed;              /* the largest of its encodings */
    size_t packed_room;
    quant_safetensors_writer *writer;
    uint64_t source_bytes;
} pack;

static const quant_tensor *tensor_of(const pack *p, size_t k)
{
    return quant_bank_tensor(p->bank, p->items[k].tensor);
}

/* ---- first pass ----------------------------------------------------------------------------- */

static quant_status check_item(pack *p, size_t k)
{
    const quant_pack_item *item = &p->items[k];
    if (item->tensor >= quant_bank_count(p->bank)) {
        return quant_fail(p->ctx, QUANT_EINVAL, "item %zu: expected a tensor below %zu, found %zu",
                          k, quant_bank_count(p->bank), item->tensor);
    }
    const quant_tensor *t = tensor_of(p, k);
    p->source_bytes += t->bytes;
    p->text_room += (strlen(t->name) + QUANT_SUFFIX) * (QUANT_PARTS + 1) + VALUE_BYTES;
    p->text_room += sizeof QUANT_PACK_ACTIVATIONS + strlen(t->name) + QUANT_SCHEME_TEXT;
    p->items[k].escalated = false;
    if (item->keep) {
        return QUANT_OK;
    }
    if (!quant_dtype_is_decoded(t->dtype)) {
        return quant_fail(p->ctx, QUANT_EUNSUPPORTED, "tensor %s: %s values are not decoded",
                          t->name, t->dtype_text);
    }
    quant_status s = quant_encode_layout(p->ctx, &item->scheme, &t->shape, &p->layouts[k]);
    if (s != QUANT_OK) {
        return quant_packed_blame(p->ctx, s, t->name);
    }
    p->w_room = t->elements > p->w_room ? (size_t)t->elements : p->w_room;
    if (item->importance) {
        p->importance_room = p->w_room;
    }
    return QUANT_OK;
}

/* Whether a value of this magnitude, or a scale that is at most as large, may overflow its type.
 * Every scale rule gives s <= A for 2 bits and more, and table entries lie between the extremes. */
static bool may_overflow(const quant_scheme *s, float absmax)
{
    bool table = s->family == QUANT_FAMILY_CODEBOOK && !quant_scheme_has_scales(s);
    quant_store store = table ? s->table_store : s->store;
    return (store == QUANT_STORE_F16 && absmax >= 65504.0f) ||
           (store == QUANT_STORE_BF16 && absmax >= 0x1.fep127f);
}

/* The values are in w. */
static quant_status encode_item(pack *p, size_t k, void *packed, size_t bytes)
{
    const quant_pack_item *item = &p->items[k];
    const quant_tensor *t = tensor_of(p, k);
    quant_encode_options options = {.importance = NULL};
    bool found = false;
    if (item->importance && quant_scheme_takes_importance(&item->scheme)) {
        QUANT_TRY(quant_importance_read(p->ctx, item->importance, t, p->importance, &found));
        options.importance = found ? p->importance : NULL;
    }
    return quant_encode_with(p->ctx, &item->scheme, &t->shape, p->w, packed, bytes, &options);
}

/* Encode into a throw-away buffer; on QUANT_ESCALE choose the wider type. */
static quant_status try_item(pack *p, size_t k)
{
    quant_pack_item *item = &p->items[k];
    const quant_shape *shape = &tensor_of(p, k)->shape;
    size_t bytes = p->layouts[k].bytes;
    void *packed = quant_alloc(p->ctx, bytes, 1);
    if (!packed) {
        return QUANT_ENOMEM;
    }
    quant_status s = encode_item(p, k, packed, bytes);
    quant_release(p->ctx, packed, bytes, 1);
    if (s != QUANT_ESCALE || !quant_scheme_widen(&item->scheme)) {
        return s;
    }
    item->escalated = true;
    return quant_encode_layout(p->ctx, &item->scheme, shape, &p->layouts[k]);
}

static quant_status look_at_item(pack *p, size_t k)
{
    const quant_tensor *t = tensor_of(p, k);
    size_t n = (size_t)t->elements, first = 0;
    QUANT_TRY(quant_bank_read_f32(p->ctx, p->bank, p->items[k].tensor, 0, n, p->w));
    size_t bad = qk()->nonfinite_f32(p->w, n, &first);
    if (bad) {
        return quant_fail(p->ctx, QUANT_ENONFINITE,
                          "tensor %s: expected finite values, found %zu others, the first at %zu",
                          t->name, bad, first);
    }
    if (may_overflow(&p->items[k].scheme, qk()->absmax_f32(p->w, n))) {
        quant_status s = try_item(p, k);
        if (s != QUANT_OK) {
            return quant_packed_blame(p->ctx, s, t->name);
        }
    }
    p->packed_room = p->layouts[k].bytes > p->packed_room ? p->layouts[k].bytes : p->packed_room;
    return QUANT_OK;
}

static quant_status first_pass(pack *p)
{
    p->text_room = 1;
    for (size_t k = 0; k < p->count; k++) {
        QUANT_TRY(check_item(p, k));
    }
    p->w = quant_alloc(p->ctx, p->w_room, sizeof *p->w);
    p->importance = quant_alloc(p->ctx, p->importance_room, sizeof *p->importance);
    if (!p->w || !p->importance) {
        return QUANT_ENOMEM;
    }
    for (size_t k = 0; k < p->count; k++) {
        if (!p->items[k].keep) {
            QUANT_TRY(look_at_item(p, k));
        }
    }
    return QUANT_OK;
}

/* ---- directory ------------------------------------------------------------------------------ */

/* A + B in the text that lives as long as the call; first_pass counted the room. */
static const char *join(pack *p, const char *a, const char *b)
{
    char *at = p->text + p->text_used;
    int n = snprintf(at, p->text_room - p->text_used, "%s%s", a, b);
    p->text_used += (size_t)n + 1;
    return at;
}

static const char *describe(pack *p, const quant_scheme *scheme, const quant_tensor *t)
{
    char value[VALUE_BYTES], text[QUANT_SCHEME_TEXT];
    quant_scheme weights = quant_scheme_weights(scheme);
    quant_scheme_print(&weights, text);
    size_t used = (size_t)snprintf(value, sizeof value, "%s|", text);
    for (int d = 0; d < t->shape.rank; d++) {
        used += (size_t)snprintf(value + used, sizeof value - used, "%s%" PRIu64, d ? "," : "",
                                 t->shape.dim[d]);
    }
    snprintf(value + used, sizeof value - used, "|%s", quant_dtype_name(t->dtype));
    return join(p, value, "");
}

static void list_item(pack *p, size_t k)
{
    const quant_pack_item *item = &p->items[k];
    const quant_tensor *t = tensor_of(p, k);
    memset(p->parts[k], 0xff, sizeof p->parts[k]);
    if (item->keep) {
        p->parts[k][0] = p->out_count;
        p->out[p->out_count++] = (quant_safetensors_item){t->name, t->dtype, t->shape};
        return;
    }
    for (int i = 0; i < QUANT_PARTS; i++) {
        quant_part part;
        if (quant_packed_part(&item->scheme, &t->shape, &p->layouts[k], i, &part)) {
            p->parts[k][i] = p->out_count;
            p->out[p->out_count++] = (quant_safetensors_item){join(p, t->name, part.suffix),
                                                              part.dtype, part.shape};
        }
    }
    const char *key = join(p, QUANT_PACK_KEY, t->name);
    p->pairs[p->pair_count++] = (quant_safetensors_pair){key, describe(p, &item->scheme, t)};
    if (item->scheme.activation.kind != QUANT_ACTIVATION_FLOAT) {
        char text[QUANT_SCHEME_TEXT];
        quant_scheme_print(&item->scheme, text);
        key = join(p, QUANT_PACK_ACTIVATIONS, t->name);
        p->pairs[p->pair_count++] = (quant_safetensors_pair){key, join(p, text, "")};
    }
}

static quant_status begin(pack *p, const char *path)
{
    p->text = quant_alloc(p->ctx, p->text_room, 1);
    p->packed = quant_alloc(p->ctx, p->packed_room, 1);
    if (!p->text || !p->packed) {
        return QUANT_ENOMEM;
    }
    p->pairs[p->pair_count++] = (quant_safetensors_pair){"schema", QUANT_PACK_SCHEMA};
    for (size_t k = 0; k < p->count; k++) {
        list_item(p, k);
    }
    return quant_safetensors_create(p->ctx, path, p->out, p->out_count, p->pairs, p->pair_count,
                                    &p->writer);
}

/* ---- second pass ---------------------------------------------------------------------------- */

static quant_status write_item(pack *p, size_t k)
{
    const quant_pack_item *item = &p->items[k];
    const quant_tensor *t = tensor_of(p, k);
    if (item->keep) {
        return quant_packed_copy(p->ctx, p->bank, item->tensor, p->writer, p->parts[k][0]);
    }
    QUANT_TRY(quant_bank_read_f32(p->ctx, p->bank, item->tensor, 0, t->elements, p->w));
    QUANT_TRY(encode_item(p, k, p->packed, p->layouts[k].bytes));
    for (int i = 0; i < QUANT_PARTS; i++) {
        quant_part part;
        if (quant_packed_part(&item->scheme, &t->shape, &p->layouts[k], i, &part)) {
            QUANT_TRY(quant_safetensors_put(p->ctx, p->writer, p->parts[k][i], 0,
                                            p->packed + part.segment.offset, part.segment.bytes));
        }
    }
    return QUANT_OK;
}

static quant_status second_pass(pack *p, quant_progress_fn *progress, void *user)
{
    uint64_t done = 0;
    for (size_t k = 0; k < p->count; k++) {
        const quant_tensor *t = tensor_of(p, k);
        if (progress) {
            progress(user, t->name, done, p->source_bytes);
        }
        quant_status s = write_item(p, k);
        if (s != QUANT_OK) {
            return quant_packed_blame(p->ctx, s, t->name);
        }
        done += t->bytes;
    }
    QUANT_TRY(quant_bank_unchanged(p->ctx, p->bank));
    quant_status s = quant_safetensors_commit(p->ctx, p->writer);
    p->writer = NULL;
    return s;
}

static quant_status run(pack *p, const char *path, quant_progress_fn *progress, void *user)
{
    p->layouts = quant_alloc(p->ctx, p->count, sizeof *p->layouts);
    p->parts = quant_alloc(p->ctx, p->count, sizeof *p->parts);
    p->out = quant_alloc(p->ctx, p->count, QUANT_PARTS * sizeof *p->out);
    p->pairs = quant_alloc(p->ctx, 2 * p->count + 1, sizeof *p->pairs);
    if (!p->layouts || !p->parts || !p->out || !p->pairs) {
        return QUANT_ENOMEM;
    }
    QUANT_TRY(first_pass(p));
    QUANT_TRY(begin(p, path));
    return second_pass(p, progress, user);
}

quant_status quant_pack_write(quant_context *ctx, quant_bank *bank, quant_pack_item *items,
                              size_t count, const char *path, quant_progress_fn *progress,
                              void *user)
{
    if (!bank || !path || (count && !items)) {
        return quant_fail(ctx, QUANT_EINVAL, "pack: an argument is NULL");
    }
    pack p = {.ctx = ctx, .bank = bank, .items = items, .count = count};
    quant_status s = run(&p, path, progress, user);
    quant_safetensors_discard(ctx, p.writer);
    quant_release(ctx, p.packed, p.packed_room, 1);
    quant_release(ctx, p.w, p.w_room, sizeof *p.w);
    quant_release(ctx, p.importance, p.importance_room, sizeof *p.importance);
    quant_release(ctx, p.text, p.text_room, 1);
    quant_release(ctx, p.pairs, 2 * count + 1, sizeof *p.pairs);
    quant_release(ctx, p.out, count, QUANT_PARTS * sizeof *p.out);
    quant_release(ctx, p.parts, count, sizeof *p.parts);
    quant_release(ctx, p.layouts, count, sizeof *p.layouts);
    return s;
}
