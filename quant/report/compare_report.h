/* SPDX-License-Identifier: GPL-3.0-or-later */
/* compare_report.h - what `quant compare` found, as a table, JSON or CSV.
 *
 * The report is a pure function of the results: no times and no folders of this machine, unless
 * timing is asked for. Weight and output fidelity never share a column. */
#ifndef QUANT_REPORT_COMPARE_REPORT_H
#define QUANT_REPORT_COMPARE_REPORT_H

#include <stdio.h>

#include "quant/lab/compare.h"
#include "quant/lab/gate.h"

/* One bank and what came out of it. */
typedef struct quant_report_bank {
    const char *name;          /* base name, as quant_text_base gives it */
    const char *format;        /* "safetensors" */
    size_t tensors;
    uint64_t elements;
    uint64_t file_bytes;
    const quant_compare_result *result; /* NULL: could not be measured, see error */
    const char *error;         /* word of the status: "E_MAGIC" */
    const char *const *notes;
    size_t note_count;
} quant_report_bank;

typedef struct quant_report_verdict {
    size_t bank;
    quant_gate_verdict verdict;
} quant_report_verdict;

typedef struct quant_compare_report {
    const quant_report_bank *banks;
    size_t bank_count;
    const quant_compare_summary *overall; /* pooled over the banks, one per scheme */
    size_t overall_count;
    const quant_report_verdict *verdicts;
    size_t verdict_count;
    const quant_metric *metric; /* of the per-tensor matrix */
    bool metric_of_output;      /* look at outputs rather than weights */
    bool verbose;               /* list every kept tensor by name */
    bool with_outputs;          /* columns of outputs: probes or inputs were used */
    bool with_predicted;        /* columns of the predicted error */
    bool with_importance;       /* columns of the error weighted by importance */
    bool timing;                /* seconds, threads and isa are filled and printed */
    double seconds;
    int threads;
    const char *isa;
} quant_compare_report;

/* Whether any bank was measured with quantized activations. */
bool quant_compare_has_parts(const quant_compare_report *report);
/* Whether recorded second moments weighed any error. */
bool quant_compare_has_estimate(const quant_compare_report *report);

quant_status quant_compare_report_table(quant_context *ctx, const quant_compare_report *report,
                                        FILE *to);
/* "quant.compare/1" */
quant_status quant_compare_report_json(quant_context *ctx, const quant_compare_report *report,
                                       FILE *to);
/* One line a tensor and scheme. Kept and refused tensors are not rows. */
quant_status quant_compare_report_csv(quant_context *ctx, const quant_compare_report *report,
                                      FILE *to);

#endif
