/* SPDX-License-Identifier: GPL-3.0-or-later */
/* json_out.h - JSON written as it is made: keys in the order of the calls, nothing held in memory.
 *
 *     quant_json_writer w;
 *     quant_json_start(&w, stdout);
 *     quant_json_open(&w, NULL, '{', QUANT_JSON_LINES);
 *     quant_json_put(&w, "schema", quant_value_text("quant.compare/1"));
 *     quant_json_close(&w);
 *     status = quant_json_finish(ctx, &w);
 *
 * Reals have 17 significant digits, so that they read back as the same double; a non-finite real
 * is null; text that is not UTF-8 has U+FFFD for each bad byte. */
#ifndef QUANT_REPORT_JSON_OUT_H
#define QUANT_REPORT_JSON_OUT_H

#include <stdio.h>

#include "quant/context.h"
#include "quant/report/value.h"

enum { QUANT_JSON_DEPTH = 16 };

/* Members of a container each on a line of its own, or all on one line. */
typedef enum quant_json_layout { QUANT_JSON_LINES, QUANT_JSON_INLINE } quant_json_layout;

typedef struct quant_json_writer {
    FILE *to;
    int depth;
    bool failed; /* memory was short, or containers were nested wrongly */
    struct {
        char bracket;
        bool has_members;
        quant_json_layout layout;
    } level[QUANT_JSON_DEPTH];
} quant_json_writer;

void quant_json_start(quant_json_writer *w, FILE *to);
/* bracket is '{' or '['. key is NULL for the root and for members of an array. */
void quant_json_open(quant_json_writer *w, const char *key, char bracket, quant_json_layout layout);
void quant_json_close(quant_json_writer *w);
void quant_json_put(quant_json_writer *w, const char *key, quant_value value);
/* End of the document, with a newline. QUANT_ENOMEM when something could not be written down,
 * QUANT_EIO when the stream failed. */
quant_status quant_json_finish(quant_context *ctx, quant_json_writer *w);

#endif
