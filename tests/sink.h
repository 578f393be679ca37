/* SPDX-License-Identifier: GPL-3.0-or-later */
/* sink.h - what was written to a stream, as text. */
#ifndef QUANT_TESTS_SINK_H
#define QUANT_TESTS_SINK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/report/text.h"

/* A stream into memory; text() ends it and gives what was written. */
typedef struct sink {
    FILE *to;
    char *data;
    size_t bytes;
} sink;

static inline sink *sink_new(void)
{
    sink *s = calloc(1, sizeof *s);
    if (s) {
        s->to = open_memstream(&s->data, &s->bytes);
    }
    return s;
}

static inline const char *text_of(sink *s)
{
    fflush(s->to);
    return s->data;
}

static inline void sink_free(sink *s)
{
    fclose(s->to);
    free(s->data);
    free(s);
}

/* Width of the widest line, and whether a line ends in a blank. */
static inline int widest_line(const char *text, int *blank_ends)
{
    int widest = 0;
    for (const char *p = text; *p;) {
        size_t n = strcspn(p, "\n");
        char *line = strndup(p, n);
        int w = quant_text_width(line);
        widest = w > widest ? w : widest;
        *blank_ends += n > 0 && line[n - 1] == ' ';
        free(line);
        p += n + (p[n] == '\n');
    }
    return widest;
}

#endif
