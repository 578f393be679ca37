/* SPDX-License-Identifier: Apache-2.0 */
/* scheme_options.h - the table of options behind scheme.h; not installed. */
#ifndef QUANT_SCHEME_OPTIONS_H
#define QUANT_SCHEME_OPTIONS_H

#include <stddef.h>

#include "quant/scheme.h"

typedef struct quant_scheme_option {
    const char *key;
    const char *meaning;
    const char *values;
    int families; /* bit 1 << family for each that takes it */
    bool (*read)(quant_scheme *s, const char *value); /* "" when no value was given */
    bool (*write)(const quant_scheme *s, char *value, size_t n); /* false: a default, leave out */
} quant_scheme_option;

/* Row i in canonical order; NULL past the end. */
const quant_scheme_option *quant_scheme_option_row(int i);

/* Default of store=: f32 for 8-bit scales, f16 below. */
quant_store quant_scheme_default_store(const quant_scheme *s);

/* percent, in (0, 100], as *digits / *unit: what was written, where the double is only near it.
 * Returns the fewest decimals, at most 12, that read back as the same double; *unit is that power
 * of ten. */
int quant_scheme_percent_decimals(double percent, uint64_t *digits, uint64_t *unit);

/* QUANT_ESCHEME unless every field holds what a parse could have given: a structure filled by
 * hand, or left unset, never reaches a table. */
quant_status quant_scheme_check(quant_context *ctx, const quant_scheme *s);

/* A whole decimal integer within bounds. */
bool quant_scheme_parse_int(const char *text, long lowest, long highest, long *value);

#endif
