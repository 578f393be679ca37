/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "quant/report/chain_report.h"

#include <math.h>

#include "quant/internal.h"
#include "quant/report/csv.h"
#include "quant/report/propagate_parts.h"
#include "quant/report/text.h"

const char quant_chain_label[] =
    "chain analysis of weight matrices, not of a model: matrices whose shapes compose in file "
    "order, no activations, biases or norms, random unit inputs";

/* ---- table ---------------------------------------------------------------------------------- */

static quant_status print_column(quant_context *ctx, const quant_chain_result *r,
                                 const quant_chain_column *c, FILE *to)
{
    static const quant_column columns[] = {
        {"matrix", true, 16}, {"norm\nof W", false, 0}, {"\nerror", false, 0},
        {"delta", false, 0}, {"error", false, 0}, {"share\ncarried", false, 0},
        {"product", false, 0}, {"root", false, 0}, {"worst\n|E|", false, 0},
        {"\nbound", false, 0}};
    quant_table *t = quant_table_new(ctx, columns, sizeof columns / sizeof *columns,
                                     r->link_count);
    fprintf(to, "\n%s\n", c->text);
    for (size_t i = 0; t && i < r->link_count; i++) {
        const quant_chain_step *s = &c->steps[i];
        quant_ledger_shares share = quant_ledger_shares_of(&s->terms);
        quant_table_add(t, r->links[i].name);
        propagate_add_real(t, r->links[i].norm);
        propagate_add_real(t, s->quantized ? s->error_norm : (double)NAN);
        propagate_add_real(t, quant_ledger_delta(&s->terms));
        propagate_add_real(t, quant_ledger_error(&s->terms));
        propagate_add_share(t, share.carried);
        propagate_add_real(t, s->product);
        propagate_add_real(t, s->root);
        propagate_add_real(t, s->worst);
        propagate_add_real(t, s->bound);
    }
    return propagate_print_table(t, to);
}

quant_status quant_chain_report_table(quant_context *ctx, const char *name,
                                      const quant_chain_result *r, FILE *to)
{
    char shown[512];
    quant_text_fit(name, 40, shown, sizeof shown);
    fprintf(to, "%s: %zu chain%s of %zu matrices, %d inputs each\n", shown, r->chain_count,
            r->chain_count == 1 ? "" : "s", r->link_count, QUANT_CHAIN_INPUTS);
    quant_text_wrap(quant_chain_label, QUANT_TABLE_WIDTH, to);
    fputs("product: prod(1 + delta) - 1; root: sqrt(sum delta^2); worst |E| of an input, its bound "
          "by norms\n", to);
    for (size_t i = 0; i < r->column_count; i++) {
        QUANT_TRY(print_column(ctx, r, &r->columns[i], to));
    }
    return ferror(to) ? quant_fail(ctx, QUANT_EIO, "table: writing failed") : QUANT_OK;
}

/* ---- JSON and CSV --------------------------------------------------------------------------- */

#define FIELD(name, value) \
    static double name(const quant_chain_link *l, const quant_chain_step *s) \
    { \
        return value; \
    }
FIELD(norm, ((void)s, l->norm))
FIELD(error_norm, ((void)l, s->error_norm))
FIELD(worst, ((void)l, s->worst))
FIELD(product, ((void)l, s->product))
FIELD(root, ((void)l, s->root))
FIELD(bound, ((void)l, s->bound))

static const struct {
    const char *key;
    double (*of)(const quant_chain_link *l, const quant_chain_step *s);
} fields[] = {
    {"operator_norm", norm}, {"error_operator_norm", error_norm}, {"worst_error", worst},
    {"product", product},    {"root", root},                      {"bound", bound},
};
enum { FIELDS = sizeof fields / sizeof *fields };

static void put_step(quant_json_writer *w, const quant_chain_link *l, const quant_chain_step *s)
{
    quant_json_open(w, NULL, '{', QUANT_JSON_INLINE);
    quant_json_put(w, "chain", quant_value_count(l->chain));
    quant_json_put(w, "tensor", quant_value_text(l->name));
    quant_json_put(w, "out", quant_value_count(l->out));
    quant_json_put(w, "in", quant_value_count(l->in));
    quant_json_put(w, "quantized", quant_value_flag(s->quantized));
    for (size_t f = 0; f < FIELDS; f++) {
        quant_json_put(w, fields[f].key, quant_value_real(fields[f].of(l, s)));
    }
    for (size_t f = 0; f < PROPAGATE_FIELDS; f++) {
        if (!propagate_fields[f].experts) {
            quant_json_put(w, propagate_fields[f].key,
                           quant_value_real(propagate_fields[f].of(&s->terms)));
        }
    }
    quant_json_close(w);
}

quant_status quant_chain_report_json(quant_context *ctx, const char *name,
                                     const quant_chain_result *r, FILE *to)
{
    quant_json_writer w;
    quant_json_start(&w, to);
    quant_json_open(&w, NULL, '{', QUANT_JSON_LINES);
    quant_json_put(&w, "schema", quant_value_text("quant.chain/1"));
    quant_json_put(&w, "what", quant_value_text(quant_chain_label));
    quant_json_put(&w, "path", quant_value_text(name));
    quant_json_put(&w, "chains", quant_value_count(r->chain_count));
    quant_json_put(&w, "inputs", quant_value_count(QUANT_CHAIN_INPUTS));
    quant_json_open(&w, "schemes", '[', QUANT_JSON_LINES);
    for (size_t i = 0; i < r->column_count; i++) {
        quant_json_open(&w, NULL, '{', QUANT_JSON_LINES);
        quant_json_put(&w, "scheme", quant_value_text(r->columns[i].text));
        quant_json_open(&w, "matrices", '[', QUANT_JSON_LINES);
        for (size_t k = 0; k < r->link_count; k++) {
            put_step(&w, &r->links[k], &r->columns[i].steps[k]);
        }
        quant_json_close(&w);
        quant_json_close(&w);
    }
    quant_json_close(&w);
    quant_json_close(&w);
    return quant_json_finish(ctx, &w);
}

static void put_heading(quant_csv_writer *w)
{
    static const char *const keys[] = {"what", "scheme", "chain", "tensor", "out", "in",
                                       "quantized"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        quant_csv_put(w, quant_value_text(keys[i]));
    }
    for (size_t f = 0; f < FIELDS; f++) {
        quant_csv_put(w, quant_value_text(fields[f].key));
    }
    for (size_t f = 0; f < PROPAGATE_FIELDS; f++) {
        if (!propagate_fields[f].experts) {
            quant_csv_put(w, quant_value_text(propagate_fields[f].key));
        }
    }
    quant_csv_end_row(w);
}

static void put_row(quant_csv_writer *w, const char *scheme, const quant_chain_link *l,
                    const quant_chain_step *s)
{
    quant_csv_put(w, quant_value_text("chain analysis"));
    quant_csv_put(w, quant_value_text(scheme));
    quant_csv_put(w, quant_value_count(l->chain));
    quant_csv_put(w, quant_value_text(l->name));
    quant_csv_put(w, quant_value_count(l->out));
    quant_csv_put(w, quant_value_count(l->in));
    quant_csv_put(w, quant_value_flag(s->quantized));
    for (size_t f = 0; f < FIELDS; f++) {
        quant_csv_put(w, quant_value_real(fields[f].of(l, s)));
    }
    for (size_t f = 0; f < PROPAGATE_FIELDS; f++) {
        if (!propagate_fields[f].experts) {
            quant_csv_put(w, quant_value_real(propagate_fields[f].of(&s->terms)));
        }
    }
    quant_csv_end_row(w);
}

quant_status quant_chain_report_csv(quant_context *ctx, const quant_chain_result *r, FILE *to)
{
    quant_csv_writer w = {to, false};
    put_heading(&w);
    for (size_t i = 0; i < r->column_count; i++) {
        for (size_t k = 0; k < r->link_count; k++) {
            put_row(&w, r->columns[i].text, &r->links[k], &r->columns[i].steps[k]);
        }
    }
    return ferror(to) ? quant_fail(ctx, QUANT_EIO, "CSV: writing failed") : QUANT_OK;
}
