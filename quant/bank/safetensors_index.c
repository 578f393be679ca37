/* SPDX-License-Identifier: GPL-3.0-or-later */
/* safetensors_index.c - *.index.json: which shard holds which tensor. Shards are opened in the
 * order of their names; index and shards must agree on every tensor. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "quant/bank/json.h"
#include "quant/bank/reader.h"

enum { INDEX_MAX = 1 << 26 };

typedef struct index_state {
    quant_context *ctx;
    quant_bank *bank;
    json_t *map;
    quant_name *shards; /* [room]: one a tensor, then sorted and made unique */
    size_t room, count;
} index_state;

/* JSON text has no NUL; in a safetensors file bytes 4..7 are zero. */
bool quant_index_recognises(const unsigned char *head, size_t bytes)
{
    size_t n = bytes < 8 ? bytes : 8, at = 0;
    while (at < n && head[at] && strchr(" \t\r\n", head[at])) {
        at++;
    }
    return at < n && head[at] == '{' && !memchr(head, 0, n);
}

/* A path inside the index's own folder. */
static quant_status check_name(quant_context *ctx, const char *tensor, const json_t *value)
{
    const char *name = json_string_value(value);
    if (!name) {
        return quant_fail(ctx, QUANT_ETYPE, "weight_map, tensor \"%s\": expected a file name",
                          tensor);
    }
    bool bad = name[0] == '\0' || name[0] == '/';
    for (const char *part = name; part && !bad; part = strchr(part, '/')) {
        part += *part == '/';
        size_t n = strcspn(part, "/");
        bad = n == 0 || (n == 1 && part[0] == '.') || (n == 2 && memcmp(part, "..", 2) == 0);
    }
    return bad ? quant_fail(ctx, QUANT_ENAME, "weight_map, tensor \"%s\": expected a file in the "
                            "folder of the index, found \"%s\"", tensor, name)
               : QUANT_OK;
}

static quant_status collect(index_state *x)
{
    const char *tensor;
    json_t *value;
    x->room = json_object_size(x->map);
    x->shards = quant_alloc(x->ctx, x->room, sizeof *x->shards);
    if (!x->shards) {
        return QUANT_ENOMEM;
    }
    json_object_foreach(x->map, tensor, value) {
        QUANT_TRY(check_name(x->ctx, tensor, value));
        const char *name = json_string_value(value);
        x->shards[x->count] = (quant_name){name, strlen(name), x->count};
        x->count++;
    }
    quant_names_sort(x->shards, x->count);
    size_t kept = 0;
    for (size_t i = 0; i < x->count; i++) {
        if (i == 0 || strcmp(x->shards[i].text, x->shards[kept - 1].text) != 0) {
            x->shards[kept++] = x->shards[i];
        }
    }
    x->count = kept;
    return QUANT_OK;
}

/* Every tensor of the shard must be one that the index puts there. */
static quant_status check_named(index_state *x, size_t start, const char *shard)
{
    for (size_t i = start; i < x->bank->count; i++) {
        const char *tensor = x->bank->entries[i].tensor.name;
        const char *named = json_string_value(json_object_get(x->map, tensor));
        if (!named || strcmp(named, shard) != 0) {
            return quant_fail(x->ctx, QUANT_EFIELD, "shard %s: tensor \"%s\": expected in "
                              "weight_map, which %s%s", shard, tensor,
                              named ? "puts it in " : "does not name it", named ? named : "");
        }
    }
    return QUANT_OK;
}

static quant_status open_shard(index_state *x, const char *folder_of, const char *shard)
{
    size_t start = x->bank->count, source;
    const char *path = quant_bank_beside(x->ctx, x->bank, folder_of, shard);
    if (!path) {
        return QUANT_ENOMEM;
    }
    QUANT_TRY(quant_bank_add_source(x->ctx, x->bank, path, &source));
    quant_status s = quant_safetensors_open(x->ctx, x->bank, source);
    if (s != QUANT_OK) {
        char prefix[300];
        snprintf(prefix, sizeof prefix, "shard %.280s", shard);
        return quant_fail_prefix(x->ctx, s, prefix);
    }
    return check_named(x, start, shard);
}

/* What remains after check_named: a tensor that the index names and its shard lacks. */
static quant_status check_complete(index_state *x)
{
    const char *tensor;
    json_t *value;
    if (x->bank->count == json_object_size(x->map)) {
        return QUANT_OK;
    }
    QUANT_TRY(quant_bank_check_names(x->ctx, x->bank, 0));
    quant_bank *b = x->bank;
    quant_name *names = quant_alloc(x->ctx, b->count, sizeof *names);
    if (!names) {
        return QUANT_ENOMEM;
    }
    for (size_t i = 0; i < b->count; i++) {
        names[i] = (quant_name){b->entries[i].tensor.name, strlen(b->entries[i].tensor.name), i};
    }
    quant_names_sort(names, b->count);
    quant_status s = QUANT_OK;
    json_object_foreach(x->map, tensor, value) {
        if (s == QUANT_OK && !quant_names_find(names, b->count, tensor, strlen(tensor))) {
            s = quant_fail(x->ctx, QUANT_EFIELD, "weight_map, tensor \"%s\": expected in shard %s, "
                           "which lacks it", tensor, json_string_value(value));
        }
    }
    quant_release(x->ctx, names, b->count, sizeof *names);
    return s;
}

static quant_status check_total(index_state *x, const json_t *metadata)
{
    const json_t *total = json_object_get(metadata, "total_size");
    uint64_t sum = 0;
    for (size_t i = 0; i < x->bank->count; i++) {
        sum += x->bank->entries[i].tensor.bytes; /* each lies within a file: cannot wrap */
    }
    if (json_is_integer(total) && (uint64_t)json_integer_value(total) != sum) {
        return quant_bank_add_note(x->ctx, x->bank, "the index's total_size differs from the %"
                                   PRIu64 " bytes of the tensors", sum);
    }
    return QUANT_OK;
}

static quant_status check_root(index_state *x, json_t *root)
{
    const char *key;
    json_t *value;
    json_object_foreach(root, key, value) {
        if (strcmp(key, "weight_map") != 0 && strcmp(key, "metadata") != 0) {
            return quant_fail(x->ctx, QUANT_EFIELD,
                              "index: expected weight_map and metadata, found "
                              "\"%s\"",
                              key);
        }
        if (!json_is_object(value)) {
            return quant_fail(x->ctx, QUANT_ETYPE, "index, %s: expected an object", key);
        }
    }
    x->map = json_object_get(root, "weight_map");
    return x->map ? QUANT_OK : quant_fail(x->ctx, QUANT_EFIELD, "index: weight_map is missing");
}

static quant_status walk(index_state *x, json_t *root, const char *path)
{
    QUANT_TRY(check_root(x, root));
    QUANT_TRY(collect(x));
    for (size_t i = 0; i < x->count; i++) {
        QUANT_TRY(open_shard(x, path, x->shards[i].text));
    }
    QUANT_TRY(check_complete(x));
    return check_total(x, json_object_get(root, "metadata"));
}

static quant_status read_index(quant_context *ctx, const quant_source *file, json_t **root)
{
    if (file->size > INDEX_MAX) {
        return quant_fail(ctx, QUANT_ELIMIT, "index: expected at most %d bytes, found %" PRIu64,
                          INDEX_MAX, file->size);
    }
    size_t bytes = (size_t)file->size;
    char *text = quant_alloc(ctx, bytes, 1);
    if (!text) {
        return QUANT_ENOMEM;
    }
    quant_status s = quant_source_read(ctx, file, 0, text, bytes);
    if (s == QUANT_OK) {
        s = quant_json_parse(ctx, text, bytes, NULL, root);
    }
    quant_release(ctx, text, bytes, 1);
    return s;
}

quant_status quant_index_open(quant_context *ctx, quant_bank *bank, size_t source)
{
    json_t *root = NULL;
    index_state x = {.ctx = ctx, .bank = bank};
    QUANT_TRY(read_index(ctx, &bank->sources[source], &root));
    quant_status s = walk(&x, root, bank->sources[source].path);
    quant_release(ctx, x.shards, x.room, sizeof *x.shards);
    json_decref(root);
    return s;
}
