/* SPDX-License-Identifier: GPL-3.0-or-later */
/* compare_against.c - the copy is another bank: plain, or packed and decoded on the way. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "quant/internal.h"
#include "quant/lab/compare_parts.h"

/* Nothing is quantized here, so whatever has values is measured, vectors and scalars too. */
const char *lab_against_reason(const quant_tensor *t, uint64_t min_elements)
{
    bool measured = quant_dtype_is_decoded(t->dtype) && t->elements > 0 &&
                    t->elements >= min_elements;
    return measured ? NULL : quant_keep_reason(t, min_elements);
}

static bool same_shape(const quant_shape *a, const quant_shape *b)
{
    bool same = a->rank == b->rank;
    for (int i = 0; same && i < a->rank; i++) {
        same = a->dim[i] == b->dim[i];
    }
    return same;
}

static void print_shape(const quant_shape *shape, char text[QUANT_MAX_RANK * 21 + 3])
{
    size_t at = (size_t)sprintf(text, "[");
    for (int i = 0; i < shape->rank; i++) {
        at += (size_t)sprintf(text + at, i ? ",%" PRIu64 : "%" PRIu64, shape->dim[i]);
    }
    sprintf(text + at, "]");
}

static quant_status end(lab_study *s, lab_cell *cell, lab_fate fate, const char *reason)
{
    cell->fate = fate;
    cell->reason = lab_text_copy(s, reason);
    return cell->reason ? QUANT_OK : QUANT_ENOMEM;
}

static quant_status end_shapes(lab_study *s, lab_cell *cell, const quant_shape *here,
                               const quant_shape *there)
{
    char a[QUANT_MAX_RANK * 21 + 3], b[sizeof a], text[2 * sizeof a + 40];
    print_shape(here, a);
    print_shape(there, b);
    snprintf(text, sizeof text, "shape %s here, %s in the other bank", a, b);
    return end(s, cell, LAB_REFUSED, text);
}

/* ---- packed ------------------------------------------------------------------------------- */

/* Index of a logical tensor; the count when there is none. Looks first where the last one was left:
 * both banks mostly have one order, and then nothing is searched. */
static size_t find_packed(lab_study *s, const char *name)
{
    size_t count = quant_packed_count(s->packed);
    for (size_t k = 0; k < count; k++) {
        size_t i = (s->packed_next + k) % count;
        if (strcmp(quant_packed_tensor_at(s->packed, i)->name, name) == 0) {
            s->packed_next = i + 1;
            return i;
        }
    }
    return count;
}

static quant_status open_packed(lab_study *s, const quant_packed_tensor *p, size_t i,
                                lab_copy *copy, quant_compare_row *row)
{
    copy->scheme = p->scheme;
    copy->bytes = p->layout.bytes;
    copy->packed = quant_alloc(s->ctx, copy->bytes, 1);
    if (!copy->packed) {
        return QUANT_ENOMEM;
    }
    row->stored_bytes = p->layout.stored_bytes;
    row->bits_per_weight = p->layout.bits_per_weight;
    row->foldable = lab_is_foldable(&p->scheme, &p->shape);
    quant_status status = quant_packed_read(s->ctx, s->packed, i, copy->packed);
    if (status != QUANT_OK) {
        lab_copy_free(s, copy);
    }
    return status;
}

/* ---- plain -------------------------------------------------------------------------------- */

static quant_status open_plain(lab_study *s, size_t i, lab_copy *copy, lab_cell *cell)
{
    const quant_tensor *t = quant_bank_tensor(s->other, i);
    if (!quant_dtype_is_decoded(t->dtype)) {
        char text[120];
        snprintf(text, sizeof text, "type %.48s of the other bank is not decoded", t->dtype_text);
        return end(s, cell, LAB_REFUSED, text);
    }
    copy->other = s->other;
    copy->index = i;
    copy->wide = t->dtype == QUANT_F64;
    cell->row.stored_bytes = t->bytes;
    cell->row.bits_per_weight = t->elements ? 8.0 * (double)t->bytes / (double)t->elements : 0;
    cell->row.foldable = true;
    return QUANT_OK;
}

static quant_status open_logical(lab_study *s, const lab_tensor *t, lab_copy *copy,
                                 lab_cell *cell)
{
    size_t i = find_packed(s, t->info->name);
    if (i == quant_packed_count(s->packed)) {
        return end(s, cell, LAB_KEPT, QUANT_KEPT_NOT_IN_OTHER);
    }
    const quant_packed_tensor *p = quant_packed_tensor_at(s->packed, i);
    if (!same_shape(&t->info->shape, &p->shape)) {
        return end_shapes(s, cell, &t->info->shape, &p->shape);
    }
    return p->kept ? open_plain(s, p->tensor, copy, cell)
                   : open_packed(s, p, i, copy, &cell->row);
}

quant_status lab_against_copy(lab_study *s, const lab_tensor *t, lab_copy *copy, lab_cell *cell)
{
    if (s->packed) {
        return open_logical(s, t, copy, cell);
    }
    size_t i;
    if (quant_bank_find(s->ctx, s->other, t->info->name, &i) != QUANT_OK) {
        return end(s, cell, LAB_KEPT, QUANT_KEPT_NOT_IN_OTHER);
    }
    const quant_shape *there = &quant_bank_tensor(s->other, i)->shape;
    return same_shape(&t->info->shape, there) ? open_plain(s, i, copy, cell)
                                              : end_shapes(s, cell, &t->info->shape, there);
}

/* ---- the study ---------------------------------------------------------------------------- */

static const char *other_name(const lab_study *s, size_t i)
{
    return s->packed ? quant_packed_tensor_at(s->packed, i)->name
                     : quant_bank_tensor(s->other, i)->name;
}

/* List what the other bank has alone. */
static quant_status list_extra(lab_study *s)
{
    size_t count = s->packed ? quant_packed_count(s->packed) : quant_bank_count(s->other), here;
    s->extra_room = count;
    s->extra = quant_alloc(s->ctx, count, sizeof *s->extra);
    if (!s->extra) {
        return QUANT_ENOMEM;
    }
    for (size_t i = 0; i < count; i++) {
        const char *name = other_name(s, i), *glob = s->options->tensors;
        if (quant_bank_find(s->ctx, s->bank, name, &here) == QUANT_OK ||
            (glob && !quant_glob_match(glob, name))) {
            continue;
        }
        const char *copy = lab_text_copy(s, name);
        if (!copy) {
            return QUANT_ENOMEM;
        }
        s->extra[s->extra_count++] =
            (quant_compare_listed){SIZE_MAX, SIZE_MAX, copy, "only in the other bank"};
    }
    return QUANT_OK;
}

quant_status quant_compare_against(quant_context *ctx, quant_bank *bank, quant_bank *other,
                                   const quant_compare_options *options,
                                   quant_compare_result **result)
{
    *result = NULL;
    if (quant_pack_is(bank)) {
        return quant_fail(ctx, QUANT_EINVAL,
                          "against: expected a plain bank as the reference, found a packed one");
    }
    lab_study s = {.ctx = ctx, .bank = bank, .options = options, .other = other, .columns = 1};
    if (quant_pack_is(other)) {
        QUANT_TRY(quant_packed_open(ctx, other, &s.packed));
    }
    quant_status status = list_extra(&s);
    if (status == QUANT_OK) {
        status = lab_study_run(&s, result);
    } else {
        quant_release(ctx, s.extra, s.extra_room, sizeof *s.extra);
        lab_texts_free(ctx, s.texts);
    }
    quant_packed_close(ctx, s.packed);
    return status;
}
