/* SPDX-License-Identifier: GPL-3.0-or-later */
/* compare_run.h - what one run of `quant compare` holds from its options to its report. */
#ifndef QUANT_CLI_COMPARE_RUN_H
#define QUANT_CLI_COMPARE_RUN_H

#include "quant/cli/cli.h"
#include "quant/report/compare_report.h"

enum { COMPARE_BANK_NOTES = 16 };

typedef struct compare_bank {
    char name[512];
    quant_bank *bank;              /* open until the end: names and notes are its own */
    quant_compare_result *result;
    const char *notes[COMPARE_BANK_NOTES];
    char own_note[2][256];
} compare_bank;

typedef struct compare_run {
    quant_compare_options options;
    quant_scheme *schemes;         /* of options, when no recipe was given */
    quant_recipe *recipe;
    quant_bank *inputs, *other, *importance;
    quant_stats *stats;
    const quant_metric *metric;
    quant_gate **gates;            /* one per --gate, zeroed */
    compare_bank *banks;           /* one per operand, as are the reports */
    quant_report_bank *reports;
    quant_compare_summary *overall;
    size_t overall_count, overall_room;
    quant_report_verdict *verdicts;
    size_t verdict_count;
} compare_run;

/* Everything that can be said before a bank is opened. *run is written first, so that tear_down
 * is right after any failure. */
quant_status compare_set_up(quant_context *ctx, const cli_args *args, compare_run *run);
void compare_tear_down(quant_context *ctx, const cli_args *args, compare_run *run);

/* Notes of bank i: those of its reader, rules of the recipe that decided nothing,
 * stacks, packed banks. */
void compare_notes(quant_context *ctx, compare_run *run, size_t i);

/* Pool the banks and judge every gate on every bank and scheme. */
quant_status compare_judge(quant_context *ctx, const cli_args *args, compare_run *run);
/* 1 and a line on stderr when a gate failed. */
int compare_gate_status(quant_context *ctx, const cli_args *args, const compare_run *run);

#endif
