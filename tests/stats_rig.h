/* SPDX-License-Identifier: GPL-3.0-or-later */
/* stats_rig.h - a drawn model with tokens, for the suites about calibration. */
#ifndef QUANT_TESTS_STATS_RIG_H
#define QUANT_TESTS_STATS_RIG_H

#include "quant/lab/calibrate.h"
#include "tests/tiny_model.h"

enum { RIG_TOKENS = 12 * 300 };

typedef struct stats_rig {
    quant_context *ctx;
    draw d;
    tiny_model *tiny;
    quant_model *model;
    int64_t ids[RIG_TOKENS];
    quant_tokens tokens;
    char path[512]; /* of statistics, not there yet */
} stats_rig;

/* n sequences of s tokens, n * s <= RIG_TOKENS. Free with rig_close. */
stats_rig *rig_open(const char *word, uint64_t k, bool moe, size_t n, size_t s);
void rig_close(stats_rig *r);
/* Inputs of layer 0's q, k, v with odd channels: 0 some 1e4 times the rest, 1 zero, 2 one nonzero
 * number in every row. Before anything is calibrated. */
void rig_odd_channels(stats_rig *r);
/* Calibrate in a context of its own with `threads`; the file's bytes (free()), NULL after a noted
 * failure. */
char *rig_bytes(stats_rig *r, const quant_calibrate_options *o, int threads, size_t *bytes);

#endif
