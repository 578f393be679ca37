/* SPDX-License-Identifier: GPL-3.0-or-later */
/* progress.h - one line that moves on a terminal, nothing anywhere else. */
#ifndef QUANT_REPORT_PROGRESS_H
#define QUANT_REPORT_PROGRESS_H

#include <stdbool.h>
#include <stdio.h>

#include "quant/bank/packed.h"

typedef struct quant_progress {
    FILE *to;        /* NULL: silent */
    bool visible;    /* a line is on the screen */
    double start, last; /* seconds of the monotonic clock */
} quant_progress;

/* Silent when `quiet` or when `to` is no terminal. Appears after half a second of work. */
void quant_progress_begin(quant_progress *p, FILE *to, bool quiet);
/* A quant_progress_fn; user is the quant_progress. */
void quant_progress_step(void *user, const char *name, uint64_t done, uint64_t total);
/* Wipe the line, so that a result or an error begins on a clean one. */
void quant_progress_end(quant_progress *p);

/* The line for done of total after `seconds`: " 42 %  eta 1:07  blk.3.ffn_up". For tests. */
void quant_progress_line(const char *name, uint64_t done, uint64_t total, double seconds, char *out,
                         size_t capacity);
/* Seconds of the monotonic clock. */
double quant_progress_clock(void);

#endif
