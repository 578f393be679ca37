/* SPDX-License-Identifier: GPL-3.0-or-later */
/* compare_tensor.c - one tensor under every column: load, encode, stream the copy back, measure. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "quant/internal.h"
#include "quant/lab/compare_parts.h"
#include "quant/predict.h"

/* ---- one column --------------------------------------------------------------------------- */

/* Whether scales stay put along the last axis: one region a channel (or a tensor), and the channel
 * axis is another one. */
bool lab_is_foldable(const quant_scheme *scheme, const quant_shape *shape)
{
    int last = shape->rank - 1 - scheme->stack;
    int axis = scheme->axis < 0 ? scheme->axis + last + 1 : scheme->axis;
    if (scheme->family == QUANT_FAMILY_FLOAT ||
        (scheme->granularity == QUANT_PER_TENSOR && !scheme->channel_scale)) {
        return true;
    }
    uint64_t channels = shape->dim[scheme->stack + axis], rest = 1;
    for (int i = scheme->stack; i < shape->rank; i++) {
        rest *= i == scheme->stack + axis ? 1 : shape->dim[i];
    }
    if (scheme->granularity == QUANT_PER_BLOCK && scheme->size < rest) {
        return false;
    }
    bool grouped = scheme->granularity == QUANT_PER_GROUP && !scheme->channel_scale;
    bool one_region = grouped ? scheme->size >= channels : channels == 1;
    return axis != last || one_region;
}

void lab_packed_free(lab_study *s, lab_copy *copy)
{
    if (copy->packed) {
        quant_release(s->ctx, copy->packed, copy->bytes, 1);
        copy->packed = NULL;
    }
}

void lab_copy_free(lab_study *s, lab_copy *copy)
{
    lab_packed_free(s, copy);
    quant_release(s->ctx, copy->smooth, copy->smooth_cols, sizeof *copy->smooth);
    copy->smooth = NULL;
}

quant_status lab_encode_once(lab_study *s, const lab_tensor *t, lab_copy *copy,
                                quant_compare_row *row)
{
    quant_layout layout;
    QUANT_TRY(quant_encode_layout(s->ctx, &copy->scheme, &t->info->shape, &layout));
    copy->packed = quant_alloc(s->ctx, layout.bytes, 1);
    if (!copy->packed) {
        return QUANT_ENOMEM;
    }
    copy->bytes = layout.bytes;
    row->stored_bytes = layout.stored_bytes;
    row->bits_per_weight = layout.bits_per_weight;
    bool weigh = t->importance && quant_scheme_takes_importance(&copy->scheme);
    quant_encode_options options = {weigh ? t->importance : NULL, &row->info};
    quant_status status = quant_encode_with(s->ctx, &copy->scheme, &t->info->shape, t->w,
                                            copy->packed, layout.bytes, &options);
    if (status != QUANT_OK) {
        lab_packed_free(s, copy);
    }
    return status;
}

/* A failure that belongs to this tensor ends the cell; one of the machine ends the study. */
static quant_status end_cell(lab_study *s, quant_status status, lab_cell *cell)
{
    if (status == QUANT_ENOMEM || status == QUANT_EIO || status == QUANT_EINVAL) {
        return status;
    }
    cell->fate = status == QUANT_ESHAPE ? LAB_KEPT : LAB_REFUSED;
    cell->reason = lab_text_failure(s, status);
    return cell->reason ? QUANT_OK : QUANT_ENOMEM;
}

/* Encode with the column's scheme, or end the cell. */
/* By inputs where the scheme wants them and there are some. */
static quant_status encode_by(lab_study *s, const lab_tensor *t, lab_own *own, lab_copy *copy,
                              quant_compare_row *row)
{
    if (copy->scheme.activation.smooth != 0) {
        QUANT_TRY(lab_own_prepare(s, t, copy->scheme.stack, own));
        if (own->inputs.count > 0) {
            return lab_smooth_encode(s, t, own, copy, row);
        }
    }
    return lab_encode_once(s, t, copy, row);
}

static quant_status encode_copy(lab_study *s, const lab_tensor *t, const quant_scheme *scheme,
                                lab_own *own, lab_copy *copy, lab_cell *cell)
{
    copy->scheme = quant_scheme_for_shape(scheme, &t->info->shape);
    quant_status status = encode_by(s, t, own, copy, &cell->row);
    if (status == QUANT_ESCALE && quant_scheme_widen(&copy->scheme)) {
        lab_copy_free(s, copy);
        cell->row.escalated = true;
        status = encode_by(s, t, own, copy, &cell->row);
    }
    if (status != QUANT_OK) {
        lab_copy_free(s, copy);
        return end_cell(s, status, cell);
    }
    quant_scheme_print(&copy->scheme, cell->row.scheme_text);
    cell->row.activations = copy->scheme.activation.kind;
    cell->row.foldable = lab_is_foldable(&copy->scheme, &t->info->shape);
    return lab_importance_measure(s, t, copy, &cell->row);
}

static const quant_scheme *column_scheme(const lab_study *s, size_t tensor, size_t column,
                                         size_t *rule)
{
    *rule = SIZE_MAX;
    const char *name = quant_bank_tensor(s->bank, tensor)->name;
    return s->options->recipe ? quant_recipe_match(s->options->recipe, name, rule)
                              : &s->options->schemes[column];
}

static quant_status predict(lab_study *s, const lab_tensor *t, const quant_scheme *scheme,
                            double *predicted)
{
    quant_statistics *statistics = NULL;
    QUANT_TRY(quant_statistics_new(s->ctx, scheme, &t->info->shape, t->w, &statistics));
    *predicted = quant_predict(statistics);
    quant_statistics_free(s->ctx, statistics);
    return QUANT_OK;
}

/* Stream the copy of one column and fill its row; outputs of the member go to `joined`. */
static quant_status measure_copy(lab_study *s, const lab_tensor *t, const lab_copy *copy,
                                 lab_own *own, lab_outputs *joined, lab_cell *cell)
{
    lab_outputs mine = {0};
    QUANT_TRY(lab_own_prepare(s, t, copy->scheme.stack, own));
    if (own->inputs.count > 0) {
        QUANT_TRY(lab_outputs_new(s->ctx, &own->reference.view, &own->inputs, &mine));
    }
    lab_outputs *const sinks[2] = {mine.y ? &mine : NULL, joined};
    quant_status status = lab_stream(s, t, copy, &cell->row.weight, sinks);
    cell->row.output = mine.y && status == QUANT_OK ? lab_outputs_compare(&own->reference, &mine)
                                                    : lab_output_none();
    if (mine.y && status == QUANT_OK && copy->scheme.activation.kind != QUANT_ACTIVATION_FLOAT) {
        status = lab_activations_measure(s, t, copy, own, &mine, &cell->row);
    }
    lab_outputs_free(s->ctx, &mine);
    if (status == QUANT_ERANGE) { /* more inputs than 32 bits have room for */
        return end_cell(s, status, cell);
    }
    if (status == QUANT_OK && isfinite(cell->row.weight.err2)) {
        cell->fate = LAB_ROW;
        return QUANT_OK;
    }
    cell->fate = LAB_REFUSED;
    cell->reason = "the copy is not finite";
    return status;
}

/* Outputs of one column inside a triple, from the inputs as its scheme codes them. */
static quant_status join_outputs(lab_study *s, const lab_tensor *t, const lab_copy *copy,
                                 lab_own *own, const lab_member *m, size_t column,
                                 lab_outputs *joined)
{
    lab_cell *cell = &s->cells[t->index * s->columns + column];
    const lab_inputs *inputs = &m->inputs[column];
    const quant_activation *how = &copy->scheme.activation;
    bool quantized = cell->fate == LAB_UNSEEN, coded = how->kind != QUANT_ACTIVATION_FLOAT;
    lab_inputs x_hat = *inputs;
    const lab_copy exact = {0};
    if (coded && inputs->count > 0) {
        const lab_ranges from = {how, lab_recorded(s), t->info->name, NULL,
                                 copy->smooth};
        QUANT_TRY(lab_inputs_quantize(s->ctx, &from, inputs, m->view.matrices, &x_hat));
    }
    quant_status status = lab_outputs_new(s->ctx, &m->view, &x_hat, joined);
    lab_outputs *const sinks[2] = {NULL, joined};
    if (status == QUANT_OK) {
        status = quantized ? measure_copy(s, t, copy, own, joined, cell)
                           : lab_stream(s, t, &exact, NULL, sinks);
    }
    joined->inputs = inputs;
    if (coded && inputs->count > 0) {
        lab_inputs_quantize_free(s->ctx, m->view.matrices, &x_hat);
    }
    return status;
}

static quant_status join(lab_study *s, const lab_tensor *t, const lab_copy *copy, size_t column,
                         lab_own *own, lab_member *m)
{
    lab_cell *cell = &s->cells[t->index * s->columns + column];
    lab_outputs joined = {0};
    bool quantized = cell->fate == LAB_UNSEEN;
    quant_status status = QUANT_OK;
    if (cell->fate != LAB_REFUSED) {
        status = join_outputs(s, t, copy, own, m, column, &joined);
    }
    if (status == QUANT_OK) {
        m->take(s, m, column, quantized, cell->fate == LAB_REFUSED ? NULL : &joined);
    }
    lab_outputs_free(s->ctx, &joined);
    return status;
}

static void row_begin(const lab_study *s, const lab_tensor *t, size_t column, lab_cell *cell)
{
    quant_compare_row *row = &cell->row;
    row->tensor = t->index;
    row->shape = t->info->shape;
    row->scheme = column;
    row->predicted = row->weighted_err2 = row->weighted_ref2 = NAN;
    row->output = lab_output_none();
    row->name = t->info->name;
    row->dtype = quant_dtype_name(t->info->dtype);
    if (s->other) {
        snprintf(row->scheme_text, sizeof row->scheme_text, "against");
    }
}

static quant_status measure_column(lab_study *s, const lab_tensor *t, size_t column,
                                   lab_own *own, lab_member *m)
{
    lab_cell *cell = &s->cells[t->index * s->columns + column];
    lab_copy copy = {0};
    size_t rule;
    row_begin(s, t, column, cell);
    if (cell->fate == LAB_UNSEEN) {
        QUANT_TRY(s->other ? lab_against_copy(s, t, &copy, cell)
                           : encode_copy(s, t, column_scheme(s, t->index, column, &rule), own,
                                         &copy, cell));
    }
    quant_status status = QUANT_OK;
    if (m) {
        status = join(s, t, &copy, column, own, m);
    } else if (cell->fate == LAB_UNSEEN) {
        status = measure_copy(s, t, &copy, own, NULL, cell);
    }
    if (status == QUANT_OK && cell->fate == LAB_ROW) {
        status = lab_estimate(s, t, &copy, &cell->row);
    }
    lab_copy_free(s, &copy);
    if (status == QUANT_OK && s->options->predict && !s->other && cell->fate == LAB_ROW) {
        status = predict(s, t, &copy.scheme, &cell->row.predicted);
    }
    return status;
}

/* ---- the tensor --------------------------------------------------------------------------- */

/* End the columns that a recipe keeps; *wanted says whether any is left. */
static quant_status apply_recipe(lab_study *s, size_t tensor, bool *wanted)
{
    size_t rule;
    *wanted = true;
    if (!s->options->recipe || s->other || column_scheme(s, tensor, 0, &rule)) {
        return QUANT_OK;
    }
    char text[160] = "no rule of the recipe matches";
    if (rule != SIZE_MAX) {
        snprintf(text, sizeof text, "kept by rule \"%.120s\"",
                 quant_recipe_glob(s->options->recipe, rule));
    }
    *wanted = false;
    return lab_cells_end(s, tensor, LAB_KEPT, text);
}

/* Refuse (or keep) a tensor that is not finite as f32, which is what would be encoded. */
static quant_status check_finite(lab_study *s, const lab_tensor *t, bool *finite)
{
    uint64_t count = 0, first = 0;
    for (uint64_t i = t->info->elements; i-- > 0;) {
        if (!isfinite(t->w[i])) {
            count++;
            first = i;
        }
    }
    *finite = count == 0;
    if (*finite) {
        return QUANT_OK;
    }
    char text[160];
    snprintf(text, sizeof text, "not finite%s: %" PRIu64 " of %" PRIu64
             " values, the first at index %" PRIu64, lab_is_wide(t) ? " in f32" : "", count,
             t->info->elements, first);
    return lab_cells_end(s, t->index, s->options->keep_nonfinite ? LAB_KEPT : LAB_REFUSED, text);
}

static quant_status join_reference(lab_study *s, const lab_tensor *t, lab_member *m)
{
    lab_outputs joined = {0};
    QUANT_TRY(lab_outputs_new(s->ctx, &m->view, &m->inputs[s->columns], &joined));
    lab_outputs *const sinks[2] = {&joined, NULL};
    lab_copy exact = {0};
    quant_status status = lab_stream(s, t, &exact, NULL, sinks);
    if (status == QUANT_OK) {
        m->take(s, m, s->columns, false, &joined);
    }
    lab_outputs_free(s->ctx, &joined);
    return status;
}

static quant_status measure_loaded(lab_study *s, const lab_tensor *t, lab_member *m)
{
    bool finite;
    QUANT_TRY(check_finite(s, t, &finite));
    if (!finite) {
        if (m) {
            m->refused = true;
        }
        return QUANT_OK;
    }
    if (m) {
        QUANT_TRY(join_reference(s, t, m));
    }
    lab_own own = {0};
    quant_status status = QUANT_OK;
    for (size_t c = 0; c < s->columns && status == QUANT_OK; c++) {
        status = measure_column(s, t, c, &own, m);
    }
    lab_own_free(s, &own);
    return status;
}

quant_status lab_tensor_measure(lab_study *s, size_t tensor, lab_member *member)
{
    const quant_tensor *info = quant_bank_tensor(s->bank, tensor);
    if (s->options->progress) {
        s->options->progress(s->options->user, info->name, s->done, s->total);
    }
    s->done += info->bytes;
    const char *reason = s->other ? lab_against_reason(info, s->options->min_elements)
                                  : quant_keep_reason(info, s->options->min_elements);
    if (reason) {
        return lab_cells_end(s, tensor, LAB_KEPT, reason);
    }
    bool wanted;
    QUANT_TRY(apply_recipe(s, tensor, &wanted));
    if (!wanted && !member) {
        return QUANT_OK;
    }
    lab_tensor t = {tensor, info, quant_alloc(s->ctx, (size_t)info->elements, sizeof(float)), NULL};
    if (!t.w) {
        return QUANT_ENOMEM;
    }
    quant_status status = quant_bank_read_f32(s->ctx, s->bank, tensor, 0, info->elements, t.w);
    status = status == QUANT_OK ? lab_importance_load(s, &t) : status;
    if (status == QUANT_OK) {
        status = measure_loaded(s, &t, member);
    }
    lab_importance_free(s, &t);
    quant_release(s->ctx, t.w, (size_t)info->elements, sizeof(float));
    return status == QUANT_OK ? status : quant_fail_prefix(s->ctx, status, info->name);
}
