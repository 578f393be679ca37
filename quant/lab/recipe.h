/* SPDX-License-Identifier: GPL-3.0-or-later */
/* recipe.h - which scheme each tensor gets.
 *
 * A recipe is JSON: an object from tensor globs to scheme strings, first match wins; the value
 * "keep" leaves a tensor as it is. Example: {"*embed*": "f16", "*.down_proj.*": "int8:channel",
 * "*": "lut4:group=32"}. Globs know * (any run, dots and slashes included), ? (one character) and
 * [set] ([a-z0-9], negated by a leading ! or ^, a leading ] is a member; a '[' that nothing closes
 * stands for itself). A tensor that no glob matches is kept and listed with that reason. */
#ifndef QUANT_LAB_RECIPE_H
#define QUANT_LAB_RECIPE_H

#include "quant/bank/bank.h"
#include "quant/scheme.h"

typedef struct quant_recipe quant_recipe;

/* Messages name the file and the key. */
quant_status quant_recipe_read(quant_context *ctx, const char *path, quant_recipe **recipe);
/* A recipe of one rule, "*" to `scheme`. */
quant_status quant_recipe_single(quant_context *ctx, const quant_scheme *scheme,
                                 quant_recipe **recipe);
void quant_recipe_free(quant_context *ctx, quant_recipe *recipe);

/* Scheme of a tensor name; NULL when it is kept; *rule receives the index of the rule that
 * matched, or SIZE_MAX. */
const quant_scheme *quant_recipe_match(const quant_recipe *recipe, const char *name, size_t *rule);
/* Rule i's glob, NULL past the end: for "rule matched nothing" warnings. */
const char *quant_recipe_glob(const quant_recipe *recipe, size_t i);

/* True when the whole name matches the glob. Linear time in practice, no recursion. */
bool quant_glob_match(const char *glob, const char *name);

/* Why a tensor is not quantized whatever the scheme: "integer type I64", "type Q4_K is not
 * decoded", "1-D", "scalar", "empty", "fewer than N elements"; NULL when it may be quantized. The
 * text is the calling thread's, valid until its next call. */
const char *quant_keep_reason(const quant_tensor *t, uint64_t min_elements);

#endif
