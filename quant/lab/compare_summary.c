/* SPDX-License-Identifier: GPL-3.0-or-later */
/* compare_summary.c - read the grid off in file order, add energies, own the strings. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "quant/internal.h"
#include "quant/lab/compare_parts.h"

/* ---- strings ------------------------------------------------------------------------------ */

struct lab_text {
    lab_text *next;
    size_t bytes;
    char text[];
};

const char *lab_text_copy(lab_study *s, const char *text)
{
    size_t bytes = sizeof(lab_text) + strlen(text) + 1;
    lab_text *t = quant_alloc(s->ctx, bytes, 1);
    if (!t) {
        return NULL;
    }
    t->next = s->texts;
    t->bytes = bytes;
    memcpy(t->text, text, strlen(text) + 1);
    s->texts = t;
    return t->text;
}

void lab_texts_free(quant_context *ctx, lab_text *texts)
{
    while (texts) {
        lab_text *next = texts->next;
        quant_release(ctx, texts, texts->bytes, 1);
        texts = next;
    }
}

/* ---- the result --------------------------------------------------------------------------- */

/* What a caller sees, first, and what it was made with. */
typedef struct owned_result {
    quant_compare_result shown;
    lab_text *texts;
} owned_result;

void quant_compare_free(quant_context *ctx, quant_compare_result *result)
{
    if (!result) {
        return;
    }
    lab_texts_free(ctx, ((owned_result *)result)->texts);
    quant_release(ctx, result->rows, result->row_count, sizeof *result->rows);
    quant_release(ctx, result->triples, result->triple_count, sizeof *result->triples);
    quant_release(ctx, result->kept, result->kept_count, sizeof *result->kept);
    quant_release(ctx, result->refused, result->refused_count, sizeof *result->refused);
    quant_release(ctx, result->summary, result->summary_count, sizeof *result->summary);
    quant_release(ctx, result, 1, sizeof(owned_result));
}

/* True at a cell that opens a listing: one for all columns when they share the reason. */
static bool opens_listing(const lab_study *s, const lab_cell *cells, size_t column, bool *shared)
{
    *shared = true;
    for (size_t c = 1; c < s->columns; c++) {
        *shared &= cells[c].reason == cells[0].reason;
    }
    return !*shared || column == 0;
}

/* Visit the grid in file order; rows and lists are counted, and written where they exist. */
static void lay_out(const lab_study *s, quant_compare_result *r)
{
    r->row_count = r->kept_count = r->refused_count = 0;
    for (size_t i = 0; i < s->tensors * s->columns; i++) {
        const lab_cell *cell = &s->cells[i];
        size_t tensor = i / s->columns, column = i % s->columns;
        bool shared;
        if (cell->fate == LAB_ROW) {
            if (r->rows) {
                r->rows[r->row_count] = cell->row;
            }
            r->row_count++;
        } else if (cell->fate != LAB_UNSEEN &&
                   opens_listing(s, &s->cells[tensor * s->columns], column, &shared)) {
            bool kept = cell->fate == LAB_KEPT;
            quant_compare_listed *list = kept ? r->kept : r->refused;
            size_t *count = kept ? &r->kept_count : &r->refused_count;
            if (list) {
                list[*count] = (quant_compare_listed){tensor, shared ? SIZE_MAX : column, NULL,
                                                      cell->reason};
            }
            ++*count;
        }
    }
    for (size_t i = 0; i < s->extra_count; i++, r->kept_count++) {
        if (r->kept) {
            r->kept[r->kept_count] = s->extra[i];
        }
    }
}

static quant_status copy_text(lab_study *s, const char **text)
{
    *text = lab_text_copy(s, *text);
    return *text ? QUANT_OK : QUANT_ENOMEM;
}

static quant_status name_lists(lab_study *s, quant_compare_listed *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!list[i].name) {
            list[i].name = quant_bank_tensor(s->bank, list[i].tensor)->name;
            QUANT_TRY(copy_text(s, &list[i].name));
        }
    }
    return QUANT_OK;
}

/* Strings of the bank become the result's. */
static quant_status own_texts(lab_study *s, quant_compare_result *r)
{
    for (size_t i = 0; i < r->row_count; i++) {
        if (i > 0 && r->rows[i].tensor == r->rows[i - 1].tensor) {
            r->rows[i].name = r->rows[i - 1].name;
            r->rows[i].dtype = r->rows[i - 1].dtype;
            continue;
        }
        QUANT_TRY(copy_text(s, &r->rows[i].name));
        QUANT_TRY(copy_text(s, &r->rows[i].dtype));
    }
    QUANT_TRY(name_lists(s, r->kept, r->kept_count));
    return name_lists(s, r->refused, r->refused_count);
}

/* ---- summary ------------------------------------------------------------------------------ */

static void summary_begin(const lab_study *s, size_t column, quant_compare_summary *sum)
{
    memset(sum, 0, sizeof *sum);
    sum->scheme = column;
    sum->cosine_worst = sum->predicted = NAN;
    sum->output = lab_output_none();
    if (s->other || s->options->recipe) {
        snprintf(sum->scheme_text, sizeof sum->scheme_text, s->other ? "against" : "recipe");
    } else {
        quant_scheme_print(&s->options->schemes[column], sum->scheme_text);
    }
}

/* |e|^2 = predicted^2 |w|^2 adds; a ratio does not. `sum` holds the energy of those before. */
static void pool_predicted(quant_compare_summary *sum, double predicted, double ref2)
{
    double before = sum->tensors ? sum->predicted * sum->predicted * sum->weight.ref2 : 0;
    double total = (sum->tensors ? sum->weight.ref2 : 0) + ref2;
    double error2 = before + predicted * predicted * ref2;
    sum->predicted = total > 0 ? sqrt(error2 / total) : error2;
}

static void pool_worst(quant_compare_summary *sum, double cosine, const char *name)
{
    if (!isnan(cosine) && !(sum->cosine_worst <= cosine)) {
        sum->cosine_worst = cosine;
        sum->tensor_worst = name;
    }
}

/* Figures that are no sums, from those that are. */
static void summary_finish(quant_compare_summary *sum)
{
    sum->bits_per_weight = sum->elements ? 8.0 * (double)sum->stored_bytes / (double)sum->elements
                                         : 0;
}

static void add_row(quant_compare_summary *sum, const quant_compare_row *row)
{
    pool_predicted(sum, row->predicted, row->weight.ref2);
    pool_worst(sum, quant_cosine(&row->weight), row->name);
    quant_fidelity_add(&sum->weight, &row->weight);
    sum->weighted_err2 += isnan(row->weighted_err2) ? 0 : row->weighted_err2;
    sum->weighted_ref2 += isnan(row->weighted_ref2) ? 0 : row->weighted_ref2;
    lab_output_pool(&sum->output, &row->output);
    lab_output_parts_pool(&sum->parts, &row->parts);
    lab_estimate_pool(&sum->estimate, &row->estimate);
    sum->tensors++;
    sum->elements += row->weight.n;
    sum->stored_bytes += row->stored_bytes;
    sum->bank_bytes += row->stored_bytes;
    sum->saturated += row->info.saturated;
    sum->zero_codes += row->info.zero_codes;
}

static void summarize(const lab_study *s, quant_compare_result *r)
{
    for (size_t c = 0; c < s->columns; c++) {
        quant_compare_summary *sum = &r->summary[c];
        summary_begin(s, c, sum);
        for (size_t i = 0; i < r->row_count; i++) {
            if (r->rows[i].scheme == c) {
                add_row(sum, &r->rows[i]);
            }
        }
        for (size_t t = 0; t < s->tensors; t++) {
            bool kept = s->cells[t * s->columns + c].fate == LAB_KEPT;
            sum->bank_bytes += kept ? quant_bank_tensor(s->bank, t)->bytes : 0;
        }
        summary_finish(sum);
    }
}

void quant_compare_summary_add(quant_compare_summary *sum, const quant_compare_summary *more)
{
    if (more->tensors > 0) {
        pool_predicted(sum, more->predicted, more->weight.ref2);
        pool_worst(sum, more->cosine_worst, more->tensor_worst);
    }
    quant_fidelity_add(&sum->weight, &more->weight);
    sum->weighted_err2 += more->weighted_err2;
    sum->weighted_ref2 += more->weighted_ref2;
    lab_output_pool(&sum->output, &more->output);
    lab_output_parts_pool(&sum->parts, &more->parts);
    lab_estimate_pool(&sum->estimate, &more->estimate);
    sum->tensors += more->tensors;
    sum->elements += more->elements;
    sum->stored_bytes += more->stored_bytes;
    sum->bank_bytes += more->bank_bytes;
    sum->saturated += more->saturated;
    sum->zero_codes += more->zero_codes;
    summary_finish(sum);
}

/* ---- collect ------------------------------------------------------------------------------ */

static quant_status allocate(lab_study *s, quant_compare_result *r)
{
    r->triple_count = s->triple_count;
    r->summary_count = s->columns;
    r->rows = quant_alloc(s->ctx, r->row_count, sizeof *r->rows);
    r->kept = quant_alloc(s->ctx, r->kept_count, sizeof *r->kept);
    r->refused = quant_alloc(s->ctx, r->refused_count, sizeof *r->refused);
    r->triples = quant_alloc(s->ctx, r->triple_count, sizeof *r->triples);
    r->summary = quant_alloc(s->ctx, r->summary_count, sizeof *r->summary);
    bool got_all = r->rows && r->kept && r->refused && r->triples && r->summary;
    return got_all ? QUANT_OK : QUANT_ENOMEM;
}

quant_status lab_study_collect(lab_study *s, quant_compare_result **result)
{
    owned_result *owner = quant_alloc(s->ctx, 1, sizeof *owner);
    if (!owner) {
        return QUANT_ENOMEM;
    }
    memset(owner, 0, sizeof *owner);
    quant_compare_result *r = &owner->shown;
    lay_out(s, r);
    quant_status status = allocate(s, r);
    if (status == QUANT_OK) {
        lay_out(s, r);
        memcpy(r->triples, s->triples, s->triple_count * sizeof *r->triples);
        status = own_texts(s, r);
    }
    if (status != QUANT_OK) {
        quant_compare_free(s->ctx, r);
        return status;
    }
    summarize(s, r);
    owner->texts = s->texts;
    s->texts = NULL;
    *result = r;
    return QUANT_OK;
}
