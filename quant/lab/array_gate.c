/* SPDX-License-Identifier: GPL-3.0-or-later */
/* array_gate.c - which arrays are compared, and what is refused. Figures: array_measure.c. */
#include "quant/lab/array_gate.h"

#include <inttypes.h>
#include <string.h>

#include "quant/internal.h"
#include "quant/lab/array_measure.h"
#include "quant/lab/recipe.h"

typedef struct pairing {
    quant_context *ctx;
    quant_array_pair pair; /* banks and indices of the two arrays in hand */
    const quant_tensor *ref, *got;
    quant_array_result *result;
} pairing;

static void list(quant_array_result *r, const char *name, const char *reason)
{
    r->listed[r->listed_count++] = (quant_array_listed){name, reason};
}

static bool is_integer(quant_dtype d)
{
    return !quant_dtype_is_float(d) && d != QUANT_C64;
}

static bool is_tokens(const quant_tensor *t)
{
    return strcmp(t->name, "tokens") == 0 && is_integer(t->dtype);
}

/* An .npy is named like its file, which says nothing: two files of one array each are a pair. */
static bool is_lone_pair(const quant_array_pair *p)
{
    bool npy = strcmp(quant_bank_format(p->ref), "npy") == 0 ||
               strcmp(quant_bank_format(p->got), "npy") == 0;
    return npy && quant_bank_count(p->ref) == 1 && quant_bank_count(p->got) == 1;
}

/* Index of a name in `bank`, one of the two; false when absent. */
static bool find(const quant_array_pair *p, const quant_bank *bank, const char *name, size_t *i)
{
    *i = 0;
    return is_lone_pair(p) || quant_bank_find(NULL, bank, name, i) == QUANT_OK;
}

static quant_status check_shapes(const pairing *p)
{
    const quant_shape *a = &p->ref->shape, *b = &p->got->shape;
    bool same = a->rank == b->rank;
    for (int i = 0; same && i < a->rank; i++) {
        same = a->dim[i] == b->dim[i];
    }
    if (same) {
        return QUANT_OK;
    }
    char text[2][QUANT_ARRAY_INDEX_TEXT];
    quant_array_shape_text(a, text[0]);
    quant_array_shape_text(b, text[1]);
    return quant_fail(p->ctx, QUANT_ESHAPE, "array \"%s\": expected shape %s as in the reference, "
                      "found %s", p->ref->name, text[0], text[1]);
}

/* Pieces of integers; `tokens` (NULL allowed) takes in what the reference holds. */
static quant_status compare_pieces(const pairing *p, int64_t *piece, quant_sha256 *tokens)
{
    enum { PIECE = QUANT_ARRAY_INTEGERS };
    int64_t *ref = piece, *got = piece + PIECE;
    for (uint64_t at = 0; at < p->ref->elements; at += PIECE) {
        uint64_t left = p->ref->elements - at, n = left < PIECE ? left : PIECE;
        QUANT_TRY(quant_bank_read_i64(p->ctx, p->pair.ref, p->pair.ref_at, at, n, ref));
        if (p->got) {
            QUANT_TRY(quant_bank_read_i64(p->ctx, p->pair.got, p->pair.got_at, at, n, got));
        }
        for (uint64_t i = 0; i < n; i++) {
            if (p->got && ref[i] != got[i]) {
                char text[QUANT_ARRAY_INDEX_TEXT];
                quant_array_element_text(&p->ref->shape, at + i, text);
                return quant_fail(p->ctx, QUANT_EFIELD, "array \"%s\"%s: expected %" PRId64 " as "
                                  "in the reference, found %" PRId64, p->ref->name, text, ref[i],
                                  got[i]);
            }
            unsigned char bytes[8];
            for (int b = 0; b < 8; b++) {
                bytes[b] = (unsigned char)((uint64_t)ref[i] >> 8 * b);
            }
            if (tokens) {
                quant_sha256_add(tokens, bytes, sizeof bytes);
            }
        }
    }
    return QUANT_OK;
}

/* Equal, or refused; got may be absent for tokens, which are hashed all the same. */
static quant_status take_integers(const pairing *p)
{
    quant_sha256 hash;
    bool tokens = is_tokens(p->ref);
    int64_t *piece = quant_alloc(p->ctx, (size_t)2 * QUANT_ARRAY_INTEGERS, sizeof *piece);
    if (!piece) {
        return QUANT_ENOMEM;
    }
    quant_sha256_begin(&hash);
    quant_status s = compare_pieces(p, piece, tokens ? &hash : NULL);
    quant_release(p->ctx, piece, (size_t)2 * QUANT_ARRAY_INTEGERS, sizeof *piece);
    if (s == QUANT_OK && tokens) {
        quant_sha256_end(&hash, p->result->tokens);
    }
    return s;
}

static quant_status take_pair(pairing *p)
{
    quant_array_result *r = p->result;
    bool integers = is_integer(p->ref->dtype);
    if (integers != is_integer(p->got->dtype)) {
        return quant_fail(p->ctx, QUANT_ETYPE, "array \"%s\": expected type %s as in the "
                          "reference, found %s", p->ref->name, p->ref->dtype_text,
                          p->got->dtype_text);
    }
    QUANT_TRY(check_shapes(p));
    if (integers) {
        QUANT_TRY(take_integers(p));
        list(r, p->ref->name, "equal integers");
        return QUANT_OK;
    }
    if (!quant_dtype_is_decoded(p->ref->dtype) || !quant_dtype_is_decoded(p->got->dtype)) {
        r->undecoded++;
        list(r, p->ref->name, "of a type that is not decoded");
        return QUANT_OK;
    }
    quant_array_row *row = &r->rows[r->row_count++];
    row->name = p->ref->name;
    row->shape = p->ref->shape;
    return quant_array_measure(p->ctx, &p->pair, row);
}

/* Array i of the reference. */
static quant_status take_reference(pairing *p, size_t i, const char *tensors, size_t *common)
{
    p->ref = quant_bank_tensor(p->pair.ref, i);
    p->got = NULL;
    p->pair.ref_at = i;
    bool wanted = !tensors || quant_glob_match(tensors, p->ref->name);
    if (!wanted && !is_tokens(p->ref)) {
        return QUANT_OK;
    }
    if (find(&p->pair, p->pair.got, p->ref->name, &p->pair.got_at)) {
        p->got = quant_bank_tensor(p->pair.got, p->pair.got_at);
        *common += wanted;
        return take_pair(p);
    }
    list(p->result, p->ref->name, "only in the reference");
    return is_tokens(p->ref) ? take_integers(p) : QUANT_OK;
}

static quant_status take_all(pairing *p, const char *tensors)
{
    size_t common = 0;
    for (size_t i = 0; i < quant_bank_count(p->pair.ref); i++) {
        QUANT_TRY(take_reference(p, i, tensors, &common));
    }
    for (size_t i = 0; i < quant_bank_count(p->pair.got); i++) {
        const char *name = quant_bank_tensor(p->pair.got, i)->name;
        size_t at;
        bool wanted = !tensors || quant_glob_match(tensors, name);
        if (wanted && !find(&p->pair, p->pair.ref, name, &at)) {
            list(p->result, name, "only in the candidate");
        }
    }
    if (common > 0) {
        return QUANT_OK;
    }
    return quant_fail(p->ctx, QUANT_EFIELD, "expected an array of the same name%s%s in both, found "
                      "%zu in the reference, %zu in the candidate and none in common",
                      tensors ? " that matches " : "", tensors ? tensors : "",
                      quant_bank_count(p->pair.ref), quant_bank_count(p->pair.got));
}

quant_status quant_array_gate(quant_context *ctx, quant_bank *reference, quant_bank *candidate,
                              const char *tensors, quant_array_result **result)
{
    *result = NULL;
    quant_array_result *r = quant_alloc(ctx, 1, sizeof *r);
    if (!r) {
        return QUANT_ENOMEM;
    }
    *r = (quant_array_result){.room = quant_bank_count(reference) + quant_bank_count(candidate)};
    r->rows = quant_alloc(ctx, r->room, sizeof *r->rows);
    r->listed = quant_alloc(ctx, r->room, sizeof *r->listed);
    pairing p = {.ctx = ctx, .pair = {.ref = reference, .got = candidate}, .result = r};
    quant_status s = r->rows && r->listed ? take_all(&p, tensors) : QUANT_ENOMEM;
    if (s != QUANT_OK) {
        quant_array_result_free(ctx, r);
        return s;
    }
    *result = r;
    return QUANT_OK;
}

void quant_array_result_free(quant_context *ctx, quant_array_result *result)
{
    if (result) {
        quant_release(ctx, result->rows, result->room, sizeof *result->rows);
        quant_release(ctx, result->listed, result->room, sizeof *result->listed);
        quant_release(ctx, result, 1, sizeof *result);
    }
}
