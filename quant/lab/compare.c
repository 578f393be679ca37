/* SPDX-License-Identifier: GPL-3.0-or-later */
/* compare.c - the study: its grid, its order of visits, its strings. */
#include "quant/lab/compare.h"

#include <string.h>

#include "quant/internal.h"
#include "quant/lab/compare_parts.h"

const char *lab_text_failure(lab_study *s, quant_status status)
{
    const char *line = quant_context_message(s->ctx);
    return lab_text_copy(s, *line ? line : quant_status_text(status));
}

quant_status lab_cells_end(lab_study *s, size_t tensor, lab_fate fate, const char *reason)
{
    const char *text = lab_text_copy(s, reason);
    if (!text) {
        return QUANT_ENOMEM;
    }
    for (size_t c = 0; c < s->columns; c++) {
        lab_cell *cell = &s->cells[tensor * s->columns + c];
        cell->fate = fate;
        cell->reason = text;
    }
    return QUANT_OK;
}

static bool is_selected(const lab_study *s, size_t i)
{
    const char *glob = s->options->tensors;
    return !glob || quant_glob_match(glob, quant_bank_tensor(s->bank, i)->name);
}

static bool is_visited(const lab_study *s, size_t i)
{
    return s->cells[i * s->columns].fate != LAB_UNSEEN;
}

static bool has_outputs(const quant_compare_options *o)
{
    return o->probe > 0 || o->inputs;
}

/* One tensor, or the three of a triple when none of them was visited yet. */
static quant_status visit(lab_study *s, size_t i)
{
    bool found = false;
    lab_triple triple;
    if (has_outputs(s->options)) {
        QUANT_TRY(lab_triple_find(s, i, &found, &triple));
    }
    for (int m = 0; found && m < 3; m++) {
        found = !is_visited(s, triple.member[m]) && is_selected(s, triple.member[m]);
    }
    return found ? lab_triple_measure(s, &triple) : lab_tensor_measure(s, i, NULL);
}

static quant_status visit_all(lab_study *s)
{
    for (size_t i = 0; i < s->tensors; i++) {
        s->total += is_selected(s, i) ? quant_bank_tensor(s->bank, i)->bytes : 0;
    }
    for (size_t i = 0; i < s->tensors; i++) {
        if (is_selected(s, i) && !is_visited(s, i)) {
            QUANT_TRY(visit(s, i));
        }
    }
    return s->other ? quant_bank_unchanged(s->ctx, s->other) : QUANT_OK;
}

static quant_status check_options(quant_context *ctx, const quant_compare_options *o)
{
    if (o->probe < 0) {
        return quant_fail(ctx, QUANT_EINVAL, "probe: expected 0 or more inputs, found %d",
                          o->probe);
    }
    return QUANT_OK;
}

/* A product that overflows is for quant_alloc to find: one factor is then not multiplied out. */
static quant_status allocate(lab_study *s)
{
    size_t column_cells = s->columns * sizeof *s->cells;
    size_t third = s->tensors / 3, column_triples = s->columns * sizeof *s->triples;
    s->triple_room = has_outputs(s->options) ? third : 0;
    s->cells = quant_alloc(s->ctx, s->tensors, column_cells);
    s->triples = quant_alloc(s->ctx, s->triple_room, column_triples);
    s->span.narrow = quant_alloc(s->ctx, LAB_SPAN, sizeof *s->span.narrow);
    s->span.reference = quant_alloc(s->ctx, LAB_SPAN, sizeof *s->span.reference);
    s->span.copy = quant_alloc(s->ctx, LAB_SPAN, sizeof *s->span.copy);
    if (!s->cells || !s->triples || !s->span.narrow || !s->span.reference || !s->span.copy) {
        return QUANT_ENOMEM;
    }
    memset(s->cells, 0, s->tensors * column_cells);
    return QUANT_OK;
}

/* NULL blocks are released as well as others. */
static void release(lab_study *s)
{
    quant_release(s->ctx, s->cells, s->tensors, s->columns * sizeof *s->cells);
    quant_release(s->ctx, s->triples, s->triple_room, s->columns * sizeof *s->triples);
    quant_release(s->ctx, s->extra, s->extra_room, sizeof *s->extra);
    quant_release(s->ctx, s->span.narrow, LAB_SPAN, sizeof *s->span.narrow);
    quant_release(s->ctx, s->span.reference, LAB_SPAN, sizeof *s->span.reference);
    quant_release(s->ctx, s->span.copy, LAB_SPAN, sizeof *s->span.copy);
    lab_texts_free(s->ctx, s->texts);
}

quant_status lab_study_run(lab_study *s, quant_compare_result **result)
{
    s->tensors = quant_bank_count(s->bank);
    quant_status status = check_options(s->ctx, s->options);
    if (status == QUANT_OK) {
        status = allocate(s);
    }
    if (status == QUANT_OK) {
        status = visit_all(s);
    }
    if (status == QUANT_OK) {
        status = quant_bank_unchanged(s->ctx, s->bank);
    }
    if (status == QUANT_OK) {
        status = lab_study_collect(s, result);
    }
    release(s);
    return status;
}

quant_status quant_compare(quant_context *ctx, quant_bank *bank,
                           const quant_compare_options *options, quant_compare_result **result)
{
    *result = NULL;
    if (!options->recipe && (!options->schemes || options->scheme_count == 0)) {
        return quant_fail(ctx, QUANT_EINVAL, "compare: expected a scheme or a recipe, found none");
    }
    lab_study s = {.ctx = ctx, .bank = bank, .options = options};
    s.columns = options->recipe ? 1 : options->scheme_count;
    return lab_study_run(&s, result);
}
