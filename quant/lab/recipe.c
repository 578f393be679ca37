/* SPDX-License-Identifier: GPL-3.0-or-later */
/* recipe.c - tensor globs to schemes, first match wins. */
#include "quant/lab/recipe.h"

#include <stdint.h>
#include <string.h>

#include "quant/bank/json.h"
#include "quant/internal.h"

enum { RECIPE_BYTES_MAX = 1 << 20 };

typedef struct rule {
    char *glob;
    size_t glob_bytes;
    bool keep;
    quant_scheme scheme;
} rule;

struct quant_recipe {
    rule *rules;
    size_t count, room;
};

/* Rules are rows in the file's order: jansson iterates an object in the order of insertion. */
static quant_status recipe_new(quant_context *ctx, size_t room, quant_recipe **recipe)
{
    quant_recipe *r = quant_alloc(ctx, 1, sizeof *r);
    if (!r) {
        return QUANT_ENOMEM;
    }
    *r = (quant_recipe){quant_alloc(ctx, room, sizeof *r->rules), 0, room};
    if (!r->rules) {
        quant_recipe_free(ctx, r);
        return QUANT_ENOMEM;
    }
    *recipe = r;
    return QUANT_OK;
}

void quant_recipe_free(quant_context *ctx, quant_recipe *recipe)
{
    if (!recipe) {
        return;
    }
    for (size_t i = 0; i < recipe->count; i++) {
        quant_release(ctx, recipe->rules[i].glob, recipe->rules[i].glob_bytes, 1);
    }
    quant_release(ctx, recipe->rules, recipe->room, sizeof *recipe->rules);
    quant_release(ctx, recipe, 1, sizeof *recipe);
}

/* scheme NULL: keep. The recipe has room. */
static quant_status append(quant_context *ctx, quant_recipe *recipe, const char *glob,
                           const quant_scheme *scheme)
{
    size_t bytes = strlen(glob) + 1;
    char *copy = quant_alloc(ctx, bytes, 1);
    if (!copy) {
        return QUANT_ENOMEM;
    }
    memcpy(copy, glob, bytes);
    rule *r = &recipe->rules[recipe->count++];
    memset(r, 0, sizeof *r);
    r->glob = copy;
    r->glob_bytes = bytes;
    r->keep = !scheme;
    if (scheme) {
        r->scheme = *scheme;
    }
    return QUANT_OK;
}

static quant_status append_json(quant_context *ctx, quant_recipe *recipe, const char *glob,
                                const json_t *value)
{
    const char *text = json_string_value(value);
    if (!text) {
        return quant_fail(ctx, QUANT_ETYPE,
                          "rule \"%s\": expected a scheme string or \"keep\", found another type",
                          glob);
    }
    if (strcmp(text, "keep") == 0) {
        return append(ctx, recipe, glob, NULL);
    }
    quant_scheme scheme;
    quant_status s = quant_scheme_parse(ctx, text, &scheme);
    if (s != QUANT_OK) {
        quant_fail_prefix(ctx, s, glob);
        return quant_fail_prefix(ctx, s, "rule");
    }
    return append(ctx, recipe, glob, &scheme);
}

static quant_status from_json(quant_context *ctx, json_t *root, quant_recipe **recipe)
{
    if (!json_is_object(root)) {
        return quant_fail(ctx, QUANT_ETYPE,
                          "expected an object from tensor globs to scheme strings");
    }
    quant_recipe *r = NULL;
    QUANT_TRY(recipe_new(ctx, json_object_size(root), &r));
    quant_status s = QUANT_OK;
    for (void *i = json_object_iter(root); i && s == QUANT_OK; i = json_object_iter_next(root, i)) {
        s = append_json(ctx, r, json_object_iter_key(i), json_object_iter_value(i));
    }
    if (s != QUANT_OK) {
        quant_recipe_free(ctx, r);
        return s;
    }
    *recipe = r;
    return QUANT_OK;
}

quant_status quant_recipe_read(quant_context *ctx, const char *path, quant_recipe **recipe)
{
    json_t *root = NULL;
    *recipe = NULL;
    QUANT_TRY(quant_json_read(ctx, path, RECIPE_BYTES_MAX, &root));
    quant_status s = from_json(ctx, root, recipe);
    json_decref(root);
    return s == QUANT_OK ? s : quant_fail_prefix(ctx, s, path);
}

quant_status quant_recipe_single(quant_context *ctx, const quant_scheme *scheme,
                                 quant_recipe **recipe)
{
    quant_recipe *r = NULL;
    *recipe = NULL;
    QUANT_TRY(recipe_new(ctx, 1, &r));
    quant_status s = append(ctx, r, "*", scheme);
    if (s != QUANT_OK) {
        quant_recipe_free(ctx, r);
        return s;
    }
    *recipe = r;
    return QUANT_OK;
}

const quant_scheme *quant_recipe_match(const quant_recipe *recipe, const char *name, size_t *which)
{
    size_t i = 0;
    while (i < recipe->count && !quant_glob_match(recipe->rules[i].glob, name)) {
        i++;
    }
    bool found = i < recipe->count;
    if (which) {
        *which = found ? i : SIZE_MAX;
    }
    return found && !recipe->rules[i].keep ? &recipe->rules[i].scheme : NULL;
}

const char *quant_recipe_glob(const quant_recipe *recipe, size_t i)
{
    return i < recipe->count ? recipe->rules[i].glob : NULL;
}
