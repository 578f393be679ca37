/* SPDX-License-Identifier: GPL-3.0-or-later */
/* propagate_parts.h - what the files of propagate's report share; not installed. */
#ifndef QUANT_REPORT_PROPAGATE_PARTS_H
#define QUANT_REPORT_PROPAGATE_PARTS_H

#include "quant/report/json_out.h"
#include "quant/report/propagate_report.h"
#include "quant/report/table.h"

/* Figures of one place, for JSON and CSV. */
typedef struct propagate_field {
    const char *key;
    double (*of)(const quant_ledger_terms *t);
    bool experts; /* told of models with experts only */
} propagate_field;
enum { PROPAGATE_FIELDS = 13 };
extern const propagate_field propagate_fields[PROPAGATE_FIELDS];

/* Cells; a share of NaN is "-". */
void propagate_add_real(quant_table *t, double value);
void propagate_add_share(quant_table *t, double share);
void propagate_add_depth(quant_table *t, uint64_t depth, uint64_t depths);
/* Print and free; QUANT_ENOMEM when t is NULL. */
quant_status propagate_print_table(quant_table *t, FILE *to);

/* "sliding" or "global" */
const char *propagate_kind_text(bool local);
/* Both kinds of layers are there. */
bool propagate_has_kinds(const quant_model *model);

/* The logits of one set of rows; rows NULL: without the cosine of every position. */
void propagate_put_logits(quant_json_writer *w, const char *key, const quant_logits_summary *s,
                          const quant_logits_row *rows, const quant_propagate_result *r);

/* What layers inject, by weights and by activations; put nothing without c->sides. */
quant_status propagate_print_sides(quant_context *ctx, const quant_propagate_column *c, FILE *to);
void propagate_put_sides(quant_json_writer *w, const quant_propagate_column *c);

/* Schemes side by side, and where each figure falls. */
quant_status propagate_print_summary(quant_context *ctx, const quant_propagate_report *report,
                                     FILE *to);
void propagate_put_falls(quant_json_writer *w, const quant_propagate_result *r);
/* Weights and outputs: members of an open object. */
void propagate_put_fidelity(quant_json_writer *w, const quant_propagate_column *c);

/* Routes: only with experts. */
quant_status propagate_print_routing(quant_context *ctx, const quant_propagate_report *report,
                                     const quant_propagate_column *c, FILE *to);
void propagate_put_routing(quant_json_writer *w, const quant_propagate_report *report,
                           const quant_propagate_column *c);

#endif
