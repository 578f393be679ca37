/* SPDX-License-Identifier: GPL-3.0-or-later */
/* propagate_report.c - the tables. */
#include "quant/report/propagate_report.h"

#include <inttypes.h>
#include <math.h>

#include "quant/internal.h"
#include "quant/report/propagate_parts.h"
#include "quant/report/smooth_report.h"
#include "quant/report/text.h"

void quant_depth_text(uint64_t depth, uint64_t depths, char text[QUANT_DEPTH_TEXT])
{
    if (depth == 0 || depth + 1 == depths) {
        snprintf(text, QUANT_DEPTH_TEXT, "%s", depth == 0 ? "embed" : "head");
    } else {
        snprintf(text, QUANT_DEPTH_TEXT, "%" PRIu64, depth - 1);
    }
}

const char *quant_compute_text(quant_compute compute)
{
    static const char *const names[] = {[QUANT_COMPUTE_F32] = "f32", [QUANT_COMPUTE_F16] = "f16",
                                        [QUANT_COMPUTE_BF16] = "bf16"};
    return names[compute];
}

void propagate_add_real(quant_table *t, double value)
{
    char text[QUANT_TEXT_NUMBER];
    quant_text_real(value, text);
    quant_table_add(t, text);
}

void propagate_add_share(quant_table *t, double share)
{
    char text[QUANT_TEXT_NUMBER];
    snprintf(text, sizeof text, "%.3f", share);
    quant_table_add(t, isnan(share) ? "-" : text);
}

void propagate_add_depth(quant_table *t, uint64_t depth, uint64_t depths)
{
    char text[QUANT_DEPTH_TEXT];
    quant_depth_text(depth, depths, text);
    quant_table_add(t, text);
}

quant_status propagate_print_table(quant_table *t, FILE *to)
{
    quant_status s = t ? quant_table_print(t, to) : QUANT_ENOMEM;
    quant_table_free(t);
    return s;
}

/* Where the error of a depth is judged. */
static quant_place end_of(uint64_t depth, uint64_t depths)
{
    return depth + 1 == depths ? QUANT_PLACE_LOGITS : QUANT_PLACE_STREAM;
}

static quant_status print_stream(quant_context *ctx, const quant_propagate_column *c, FILE *to)
{
    static const quant_column columns[] = {
        {"layer", true, 0}, {"error", false, 0}, {"share\ncarried", false, 0},
        {"share\ninjected", false, 0}, {"share\ncross", false, 0}, {"norm\ncarried", false, 0},
        {"norm\ninjected", false, 0}, {"norm\ncross", false, 0}};
    uint64_t depths = c->ledger.depths;
    quant_table *t = quant_table_new(ctx, columns, sizeof columns / sizeof *columns,
                                     (size_t)depths);
    fputs("residual stream, then logits: error and norms relative to the clean value\n", to);
    for (uint64_t d = 0; t && d < depths; d++) {
        quant_ledger_terms x = quant_ledger_pooled(&c->ledger, d, end_of(d, depths));
        quant_ledger_shares s = quant_ledger_shares_of(&x);
        propagate_add_depth(t, d, depths);
        propagate_add_real(t, quant_ledger_error(&x));
        propagate_add_share(t, s.carried);
        propagate_add_share(t, s.injected);
        propagate_add_share(t, s.cross);
        propagate_add_real(t, sqrt(x.carried2 / x.clean2));
        propagate_add_real(t, sqrt(x.injected2 / x.clean2));
        propagate_add_real(t, sqrt(x.cross2 / x.clean2));
    }
    return propagate_print_table(t, to);
}

/* Places [from, to) inside a layer that this model has. */
static size_t inner_places(const quant_ledger *l, int from, int to,
                           quant_place out[QUANT_PLACE_COUNT])
{
    size_t count = 0;
    for (int p = from; p < to; p++) {
        if (l->depths > 2 && quant_ledger_at(l, 1, (quant_place)p, 0)->n > 0) {
            out[count++] = (quant_place)p;
        }
    }
    return count;
}

/* One table of places [from, to); with two kinds of layers a line for each of them below. */
static quant_status print_places(quant_context *ctx, const quant_propagate_report *report,
                                 const quant_propagate_column *c, const int range[2], FILE *to)
{
    quant_column columns[QUANT_PLACE_COUNT + 1] = {{"layer", true, 0}};
    quant_place place[QUANT_PLACE_COUNT];
    size_t count = inner_places(&c->ledger, range[0], range[1], place);
    for (size_t i = 0; i < count; i++) {
        columns[i + 1] = (quant_column){quant_place_name(place[i]), false, 0};
    }
    uint64_t layers = c->ledger.depths - 2;
    int kinds = propagate_has_kinds(report->model) ? 2 : 0;
    quant_table *t = quant_table_new(ctx, columns, count + 1, (size_t)layers + 2);
    for (uint64_t l = 0; t && l < layers; l++) {
        propagate_add_depth(t, l + 1, c->ledger.depths);
        for (size_t i = 0; i < count; i++) {
            quant_ledger_terms x = quant_ledger_pooled(&c->ledger, l + 1, place[i]);
            propagate_add_real(t, quant_ledger_error(&x));
        }
    }
    for (int local = kinds - 1; t && local >= 0; local--) {
        quant_table_add(t, propagate_kind_text(local));
        for (size_t i = 0; i < count; i++) {
            quant_ledger_terms x = quant_ledger_kind(&c->ledger, report->model, local, place[i]);
            propagate_add_real(t, quant_ledger_error(&x));
        }
    }
    return propagate_print_table(t, to);
}

static quant_status print_inside(quant_context *ctx, const quant_propagate_report *report,
                                 const quant_propagate_column *c, FILE *to)
{
    static const int all[2] = {0, QUANT_PLACE_STREAM}, attention[2] = {0, QUANT_PLACE_GATE};
    static const int ffn[2] = {QUANT_PLACE_GATE, QUANT_PLACE_STREAM};
    if (c->routing.experts == 0) {
        fputs("inside the layers: relative error (scores: before the softmax)\n", to);
        return print_places(ctx, report, c, all, to);
    }
    fputs("attention: relative error (scores: before the softmax)\n", to);
    QUANT_TRY(print_places(ctx, report, c, attention, to));
    fputs("dense and routed feed-forward part: relative error (an expert's values are 0 where it "
          "was not chosen)\n", to);
    QUANT_TRY(print_places(ctx, report, c, ffn, to));
    return propagate_print_routing(ctx, report, c, to);
}

static quant_status print_growth(quant_context *ctx, const quant_propagate_column *c, FILE *to)
{
    static const quant_column columns[] = {
        {"model of growth", true, 0}, {"off by\nas it is", false, 0}, {"\nworst", false, 0},
        {"scale", false, 0}, {"power", false, 0}, {"off by\nfitted", false, 0},
        {"last layer\npredicted", false, 0}, {"95 %\nlow", false, 0}, {"\nhigh", false, 0},
        {"\nmeasured", false, 0}};
    static const char *const names[] = {[QUANT_GROWTH_PRODUCT] = "prod(1 + delta) - 1",
                                        [QUANT_GROWTH_ROOT] = "sqrt(sum delta^2)"};
    quant_table *t = quant_table_new(ctx, columns, sizeof columns / sizeof *columns,
                                     QUANT_GROWTH_COUNT);
    const quant_growth_fit *first = &c->growth[0];
    fprintf(to, "models of the stream's error, judged on the last %zu layers, fitted on %zu: "
            "factors, 1 is right\n", first->judged, first->fitted);
    for (int g = 0; t && g < QUANT_GROWTH_COUNT; g++) {
        const quant_growth_fit *f = &c->growth[g];
        quant_table_add(t, names[g]);
        propagate_add_real(t, f->plain.rms);
        propagate_add_real(t, f->plain.worst);
        propagate_add_real(t, f->scale);
        propagate_add_real(t, f->power);
        propagate_add_real(t, f->after.rms);
        propagate_add_real(t, f->predicted);
        propagate_add_real(t, f->low);
        propagate_add_real(t, f->high);
        propagate_add_real(t, f->measured);
    }
    return propagate_print_table(t, to);
}

static quant_status print_arithmetic(quant_context *ctx, const quant_propagate_report *report,
                                     const quant_propagate_column *c, FILE *to)
{
    static const quant_column columns[] = {
        {"layer", true, 0}, {"error", false, 0}, {"share\nquantization", false, 0},
        {"share\narithmetic", false, 0}, {"norm\nquantization", false, 0},
        {"norm\narithmetic", false, 0}};
    uint64_t depths = c->ledger.depths;
    quant_table *t = quant_table_new(ctx, columns, sizeof columns / sizeof *columns,
                                     (size_t)depths);
    fprintf(to, "quantization beside arithmetic in %s: error against the float run\n",
            quant_compute_text(report->result->compute));
    for (uint64_t d = 0; t && d < depths; d++) {
        const quant_arithmetic_terms *x = &c->arithmetic[d];
        propagate_add_depth(t, d, depths);
        propagate_add_real(t, sqrt(x->error2 / x->clean2));
        propagate_add_share(t, x->quantization_dot / x->error2);
        propagate_add_share(t, x->arithmetic_dot / x->error2);
        propagate_add_real(t, sqrt(x->quantization2 / x->clean2));
        propagate_add_real(t, sqrt(x->arithmetic2 / x->clean2));
    }
    return propagate_print_table(t, to);
}

static quant_status print_jacobians(quant_context *ctx, const quant_propagate_column *c,
                                    const quant_jacobian *j, FILE *to)
{
    static const quant_column columns[] = {
        {"layer", true, 0}, {"gain", false, 0}, {"norm, at\nleast", false, 0},
        {"error\nby gains", false, 0}, {"\nby norms", false, 0}, {"\nmeasured", false, 0}};
    uint64_t depths = c->ledger.depths;
    quant_jacobian_growth e = {0, 0};
    quant_table *t = quant_table_new(ctx, columns, sizeof columns / sizeof *columns,
                                     (size_t)depths);
    fputs("Jacobians of the layers on the clean stream, and the error that they predict\n", to);
    for (uint64_t d = 0; t && d + 1 < depths; d++) {
        quant_ledger_terms x = quant_ledger_pooled(&c->ledger, d, QUANT_PLACE_STREAM);
        e = quant_jacobian_step(&c->ledger, j, d, e);
        propagate_add_depth(t, d, depths);
        propagate_add_real(t, d > 0 ? j[d - 1].gain : (double)NAN);
        propagate_add_real(t, d > 0 ? j[d - 1].norm : (double)NAN);
        propagate_add_real(t, e.by_gain);
        propagate_add_real(t, e.by_norm);
        propagate_add_real(t, quant_ledger_error(&x));
    }
    return propagate_print_table(t, to);
}

static quant_status print_whiteness(quant_context *ctx, const quant_propagate_column *c, FILE *to)
{
    static const quant_column columns[] = {
        {"layer", true, 0}, {"tensors", false, 0}, {"p", false, 0}, {"neighbours", false, 0},
        {"in", true, 20}};
    uint64_t depths = c->ledger.depths;
    quant_table *t = quant_table_new(ctx, columns, sizeof columns / sizeof *columns,
                                     (size_t)depths);
    char text[QUANT_TEXT_NUMBER];
    fprintf(to, "is the weights' error white along the inputs? p from %d draws of signs; largest "
            "correlation of\nneighbours\n", QUANT_WHITENESS_DRAWS);
    for (uint64_t d = 0; t && d < depths; d++) {
        const quant_whiteness_row *row = &c->whiteness[d];
        propagate_add_depth(t, d, depths);
        quant_text_count(row->tensors, text);
        quant_table_add(t, text);
        propagate_add_real(t, row->p);
        propagate_add_real(t, row->neighbour);
        quant_table_add(t, row->tensor ? row->tensor : "");
    }
    return propagate_print_table(t, to);
}

static quant_status print_isolated(quant_context *ctx, const quant_propagate_column *c, FILE *to)
{
    static const quant_column columns[] = {
        {"alone", true, 0}, {"weights", false, 0}, {"cosine\nmean ↑", false, 0},
        {"relative\nerror ↓", false, 0}, {"KL\nmean ↓", false, 0}, {"top-1 ↑", false, 0},
        {"perplexity\nratio ↓", false, 0}, {"95 %\nlow", false, 0}, {"\nhigh", false, 0}};
    quant_table *t = quant_table_new(ctx, columns, sizeof columns / sizeof *columns,
                                     c->isolated_count);
    char text[QUANT_TEXT_NUMBER];
    fputs("one part at a time: the logits when it alone is quantized, worst first\n", to);
    for (size_t i = 0; t && i < c->isolated_count; i++) {
        const quant_isolate_row *row = &c->isolated[i];
        const double ratio[] = {row->logits.ratio, row->logits.low, row->logits.high};
        quant_table_add(t, row->name);
        quant_text_count(row->elements, text);
        quant_table_add(t, text);
        quant_text_cosine(row->logits.cosine_mean, text);
        quant_table_add(t, text);
        propagate_add_real(t, row->logits.relative_error);
        propagate_add_real(t, row->logits.kl_mean);
        snprintf(text, sizeof text, "%.2f %%", 100 * row->logits.same_top);
        quant_table_add(t, text);
        for (int k = 0; k < 3; k++) {
            snprintf(text, sizeof text, "%.4f", ratio[k]);
            quant_table_add(t, isnan(ratio[k]) ? "-" : text);
        }
    }
    return propagate_print_table(t, to);
}

static quant_status print_column(quant_context *ctx, const quant_propagate_report *report,
                                 const quant_propagate_column *c, FILE *to)
{
    fprintf(to, "\n%s: %" PRIu64 " tensors quantized, %" PRIu64 " kept\n", c->text, c->quantized,
            c->kept);
    QUANT_TRY(print_stream(ctx, c, to));
    if (c->sides) {
        QUANT_TRY(propagate_print_sides(ctx, c, to));
    }
    QUANT_TRY(print_inside(ctx, report, c, to));
    QUANT_TRY(print_growth(ctx, c, to));
    if (c->arithmetic) {
        QUANT_TRY(print_arithmetic(ctx, report, c, to));
    }
    if (report->result->jacobians) {
        QUANT_TRY(print_jacobians(ctx, c, report->result->jacobians, to));
    }
    if (c->whiteness) {
        QUANT_TRY(print_whiteness(ctx, c, to));
    }
    return c->isolated ? print_isolated(ctx, c, to) : QUANT_OK;
}

quant_status quant_propagate_report_table(quant_context *ctx, const quant_propagate_report *report,
                                          FILE *to)
{
    const quant_propagate_result *r = report->result;
    char name[512];
    quant_text_fit(report->name, 40, name, sizeof name);
    fprintf(to, "%s: %s, %" PRIu64 " layers; %zu sequence%s of %zu tokens, arithmetic in %s\n",
            name, quant_model_architecture(report->model), r->depths - 2, r->n,
            r->n == 1 ? "" : "s", r->s, quant_compute_text(r->compute));
    quant_smooth_report_text(report->grids, to);
    for (size_t i = 0; i < r->column_count; i++) {
        QUANT_TRY(print_column(ctx, report, &r->columns[i], to));
    }
    fputs("\n", to);
    QUANT_TRY(propagate_print_summary(ctx, report, to));
    return ferror(to) ? quant_fail(ctx, QUANT_EIO, "table: writing failed") : QUANT_OK;
}
