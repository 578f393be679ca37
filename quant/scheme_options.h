/* SPDX-License-Identifier: Apache-2.0 */
/* scheme_options.h - the table of options behind scheme.h; not installed. */
#ifndef QUANT_SCHEME_OPTIONS_H
#define QUANT_SCHEME_OPTIONS_H

#include <stddef.h>

#include "quant/scheme.h"

/* An option is either a pair of functions or one word of a list: the field at byte `field` of a
 * scheme, an enumeration, is the index of the word. */
typedef struct quant_scheme_option {
    const char *key;
    const char *meaning;
    const char *values;
    int families; /* bit family for each that takes it by itself, bit family +
                     QUANT_SCHEME_WITH_ACTIVATIONS for each that takes it in w8a8, w4a8 */
    bool (*read)(quant_scheme *s, const char *value); /* "" when no value was given */
    bool (*write)(const quant_scheme *s, char *value, size_t n); /* false: a default, leave out */
    const char *const *words; /* NULL-terminated; then read and write are NULL */
    size_t field;
} quant_scheme_option;

enum { QUANT_SCHEME_WITH_ACTIVATIONS = 3 };
bool quant_scheme_option_takes(const quant_scheme_option *option, const quant_scheme *s);

/* Read the value of an option into s; false when it is none of its values. */
bool quant_scheme_option_read(const quant_scheme_option *row, quant_scheme *s, const char *value);

/* The value as text, "" when the option has none; false when it is the default, left out. */
bool quant_scheme_option_write(const quant_scheme_option *row, const quant_scheme *s, char *value,
                               size_t n);

/* Every option at its default, but store=, whose default depends on the others. */
void quant_scheme_defaults(quant_scheme *s);

/* Row i in canonical order; NULL past the end. */
const quant_scheme_option *quant_scheme_option_row(int i);

/* True when the scheme stores scales: what store= is about. */
bool quant_scheme_has_scales(const quant_scheme *s);

/* Default of store=: f32 for scales of 8-bit codes or entries, and where there are none; f16 for
 * scales below 8 bits. */
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
