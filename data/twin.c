/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "data/twin.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernels/kernels.h"
#include "quant/bank/safetensors_write.h"
#include "quant/internal.h"
#include "quant/model/arch.h"
#include "quant/random.h"

typedef enum side { ROWS, COLUMNS } side; /* a vector is one column: its gains are rows */

/* How element i of an axis finds its number. */
enum {
    HEADS = 1, /* of the value or key head that its query head reads */
    PAIRS = 2, /* both elements of a rotary pair have that of the first */
    EACH = 4,  /* every matrix of a stack has its own */
    LOWER = 8  /* only the lower half of its rows moves: up, below gate */
};

/* `role` moves with the numbers of `source`. */
typedef struct move {
    twin_move move;
    quant_role source, role;
    side side;
    int sign, how;
} move;

static const move moves[] = {
    {TWIN_NORMS, QUANT_ROLE_ATTENTION_NORM, QUANT_ROLE_ATTENTION_NORM, ROWS, 1, 0},
    {TWIN_NORMS, QUANT_ROLE_ATTENTION_NORM, QUANT_ROLE_Q, COLUMNS, -1, 0},
    {TWIN_NORMS, QUANT_ROLE_ATTENTION_NORM, QUANT_ROLE_K, COLUMNS, -1, 0},
    {TWIN_NORMS, QUANT_ROLE_ATTENTION_NORM, QUANT_ROLE_V, COLUMNS, -1, 0},
    {TWIN_NORMS, QUANT_ROLE_FFN_NORM, QUANT_ROLE_FFN_NORM, ROWS, 1, 0},
    {TWIN_NORMS, QUANT_ROLE_FFN_NORM, QUANT_ROLE_GATE, COLUMNS, -1, 0},
    {TWIN_NORMS, QUANT_ROLE_FFN_NORM, QUANT_ROLE_UP, COLUMNS, -1, 0},
    {TWIN_NORMS, QUANT_ROLE_FFN_NORM, QUANT_ROLE_ROUTER, COLUMNS, -1, 0},
    {TWIN_NORMS, QUANT_ROLE_FFN_NORM, QUANT_ROLE_EXPERT_GATE, COLUMNS, -1, 0},
    {TWIN_NORMS, QUANT_ROLE_FFN_NORM, QUANT_ROLE_EXPERT_UP, COLUMNS, -1, 0},
    {TWIN_NORMS, QUANT_ROLE_FFN_NORM, QUANT_ROLE_EXPERT_GATE_UP, COLUMNS, -1, 0},
    {TWIN_NORMS, QUANT_ROLE_FINAL_NORM, QUANT_ROLE_FINAL_NORM, ROWS, 1, 0},
    {TWIN_NORMS, QUANT_ROLE_FINAL_NORM, QUANT_ROLE_HEAD, COLUMNS, -1, 0},
    {TWIN_VALUES, QUANT_ROLE_V, QUANT_ROLE_V, ROWS, 1, 0},
    {TWIN_VALUES, QUANT_ROLE_V, QUANT_ROLE_O, COLUMNS, -1, HEADS},
    {TWIN_INNER, QUANT_ROLE_UP, QUANT_ROLE_UP, ROWS, 1, 0},
    {TWIN_INNER, QUANT_ROLE_UP, QUANT_ROLE_DOWN, COLUMNS, -1, 0},
    {TWIN_INNER, QUANT_ROLE_EXPERT_UP, QUANT_ROLE_EXPERT_UP, ROWS, 1, EACH},
    {TWIN_INNER, QUANT_ROLE_EXPERT_UP, QUANT_ROLE_EXPERT_DOWN, COLUMNS, -1, EACH},
    {TWIN_INNER, QUANT_ROLE_EXPERT_GATE_UP, QUANT_ROLE_EXPERT_GATE_UP, ROWS, 1, EACH | LOWER},
    {TWIN_INNER, QUANT_ROLE_EXPERT_GATE_UP, QUANT_ROLE_EXPERT_DOWN, COLUMNS, -1, EACH},
    {TWIN_KEYS, QUANT_ROLE_K_NORM, QUANT_ROLE_K_NORM, ROWS, 1, PAIRS},
    {TWIN_KEYS, QUANT_ROLE_K_NORM, QUANT_ROLE_Q_NORM, ROWS, -1, PAIRS},
    {TWIN_KEYS, QUANT_ROLE_K, QUANT_ROLE_K, ROWS, 1, PAIRS},
    {TWIN_KEYS, QUANT_ROLE_K, QUANT_ROLE_Q, ROWS, -1, PAIRS | HEADS},
};
enum { MOVES = sizeof moves / sizeof *moves };

/* What a tensor is for; role QUANT_ROLE_COUNT: nothing that moves. part: of an expert's own. */
typedef struct place {
    quant_role role;
    uint64_t layer, part;
} place;

typedef struct work {
    quant_context *ctx;
    quant_model *model;
    const twin_options *options;
    quant_safetensors_writer *writer;
    place *places;           /* of every tensor of the bank */
    twin_result *result;
    float *values;           /* of the largest tensor */
    uint16_t *narrow;
    int *row, *column;       /* exponents of all rows, and of all columns, matrix by matrix */
    size_t largest;
} work;

/* Matrices of rows x columns; a vector is one column. */
typedef struct extent {
    size_t matrices, rows, columns;
} extent;

static extent extent_of(const quant_tensor *t)
{
    const quant_shape *s = &t->shape;
    extent e = {1, 1, 1};
    e.columns = s->rank > 1 ? (size_t)s->dim[s->rank - 1] : 1;
    e.rows = s->rank > 1 ? (size_t)s->dim[s->rank - 2] : (size_t)t->elements;
    e.matrices = t->elements ? (size_t)t->elements / e.rows / e.columns : 0;
    return e;
}

/* The tensor whose name keys the numbers; NULL: this move is not there, or not exact. */
static const quant_tensor *source_of(const work *w, const move *m, const place *at)
{
    const quant_model_sizes *z = quant_model_sizes_of(w->model);
    bool normed = quant_model_parts(w->model, QUANT_ROLE_K_NORM) > 0;
    if (!(w->options->moves & m->move) || (m->source == QUANT_ROLE_FINAL_NORM && z->tied) ||
        (m->source == QUANT_ROLE_K && normed)) {
        return NULL;
    }
    uint64_t part = quant_model_parts(w->model, m->source) > 1 ? at->part : 0;
    return quant_model_part(w->model, m->source, at->layer, part, NULL);
}

static uint64_t number_of(const work *w, const move *m, uint64_t i)
{
    const quant_model_sizes *z = quant_model_sizes_of(w->model);
    uint64_t d = z->head_dim, head = i / d, at = i % d;
    head = m->how & HEADS ? head * z->kv_heads / z->heads : head;
    at = m->how & PAIRS ? at % (d / 2) : at;
    return m->how & (HEADS | PAIRS) ? head * d + at : i;
}

/* Add a move's exponents to those of the tensor's rows or columns. */
static void add_move(work *w, const move *m, const quant_tensor *source, extent e)
{
    quant_random stream = quant_random_stream(w->options->seed, source->name);
    size_t length = m->side == ROWS ? e.rows : e.columns;
    int *to = m->side == ROWS ? w->row : w->column;
    size_t still = m->how & LOWER ? length / 2 : 0; /* rows of a matrix that stay */
    for (size_t k = 0; k < e.matrices * length; k++) {
        if (k % length < still) {
            continue;
        }
        uint64_t matrix = m->how & EACH ? k / length : 0;
        uint64_t i = number_of(w, m, matrix * (length - still) + k % length - still);
        double ln = w->options->spread * quant_random_normal(&stream, i);
        int exponent = m->sign * (int)rint(ln / 0x1.62e42fefa39efp-1);
        to[k] += exponent;
        w->result->least = exponent < w->result->least ? exponent : w->result->least;
        w->result->most = exponent > w->result->most ? exponent : w->result->most;
    }
}

static bool add_moves(work *w, size_t i, extent e)
{
    const place *at = &w->places[i];
    bool moved = false;
    memset(w->row, 0, e.matrices * e.rows * sizeof *w->row);
    memset(w->column, 0, e.matrices * e.columns * sizeof *w->column);
    for (size_t k = 0; k < MOVES; k++) {
        const quant_tensor *source = moves[k].role == at->role ? source_of(w, &moves[k], at) : NULL;
        if (source) {
            add_move(w, &moves[k], source, e);
            moved = true;
        }
    }
    return moved;
}

static quant_status inexact(const work *w, const quant_tensor *t, size_t i)
{
    return quant_fail(w->ctx, QUANT_ERANGE, "tensor \"%s\": expected elements that a power of two "
                      "leaves exact in %s, element %zu is not", t->name,
                      quant_dtype_name(t->dtype), i);
}

static quant_status scale(const work *w, const quant_tensor *t, extent e)
{
    for (size_t i = 0; i < t->elements; i++) {
        size_t r = i / e.columns;
        int exponent = w->row[r] + w->column[r / e.rows * e.columns + i % e.columns];
        double exact = ldexp((double)w->values[i], exponent);
        w->values[i] = (float)exact;
        if ((double)w->values[i] != exact) { /* not finite, or below the normal numbers */
            return inexact(w, t, i);
        }
    }
    return QUANT_OK;
}

static quant_status put_narrow(const work *w, size_t i, const quant_tensor *t)
{
    enum { PIECE = 512 };
    float back[PIECE];
    bool half = t->dtype == QUANT_F16;
    size_t n = (size_t)t->elements;
    (half ? qk()->f32_to_f16 : qk()->f32_to_bf16)(w->values, n, w->narrow);
    for (size_t k = 0; k < n; k += PIECE) {
        size_t some = n - k < PIECE ? n - k : PIECE;
        (half ? qk()->f16_to_f32 : qk()->bf16_to_f32)(w->narrow + k, some, back);
        for (size_t j = 0; j < some; j++) {
            if (back[j] != w->values[k + j]) {
                return inexact(w, t, k + j);
            }
        }
    }
    return quant_safetensors_put(w->ctx, w->writer, i, 0, w->narrow, n * sizeof *w->narrow);
}

static quant_status put(work *w, size_t i)
{
    quant_bank *bank = quant_model_bank(w->model);
    const quant_tensor *t = quant_bank_tensor(bank, i);
    extent e = extent_of(t);
    if (t->elements == 0) {
        return QUANT_OK;
    }
    QUANT_TRY(quant_bank_read_f32(w->ctx, bank, i, 0, t->elements, w->values));
    w->result->tensors++;
    w->result->moved += add_moves(w, i, e);
    QUANT_TRY(scale(w, t, e));
    return t->dtype != QUANT_F32 ? put_narrow(w, i, t)
                                 : quant_safetensors_put(w->ctx, w->writer, i, 0, w->values,
                                                         (size_t)t->elements * sizeof(float));
}

/* ---- the whole ------------------------------------------------------------------------------ */

static void find_places(work *w)
{
    size_t count = quant_bank_count(quant_model_bank(w->model));
    uint64_t layers = quant_model_sizes_of(w->model)->layers;
    for (size_t i = 0; i < count; i++) {
        w->places[i] = (place){QUANT_ROLE_COUNT, 0, 0};
    }
    for (int r = QUANT_ROLE_COUNT - 1; r >= 0; r--) { /* a tied head is the embedding */
        for (uint64_t l = 0; l < (r < QUANT_ROLE_LAYER ? 1 : layers); l++) {
            size_t i;
            for (uint64_t k = 0; quant_model_part(w->model, (quant_role)r, l, k, &i); k++) {
                w->places[i] = (place){(quant_role)r, l, k};
            }
        }
    }
}

static quant_status create(work *w, const char *path)
{
    const quant_bank *bank = quant_model_bank(w->model);
    size_t count = quant_bank_count(bank);
    char seed[24], spread[32];
    snprintf(seed, sizeof seed, "%" PRIu64, w->options->seed);
    snprintf(spread, sizeof spread, "%.17g", w->options->spread);
    const quant_safetensors_pair pairs[] = {{"format", "pt"}, {"made_by", "make_twin"},
                                            {"seed", seed}, {"spread", spread}};
    quant_safetensors_item *items = quant_alloc(w->ctx, count, sizeof *items);
    if (!items) {
        return QUANT_ENOMEM;
    }
    quant_status s = QUANT_OK;
    for (size_t i = 0; i < count && s == QUANT_OK; i++) {
        const quant_tensor *t = quant_bank_tensor(bank, i);
        items[i] = (quant_safetensors_item){t->name, t->dtype, t->shape};
        w->largest = t->elements > w->largest ? (size_t)t->elements : w->largest;
        if (t->dtype != QUANT_F32 && t->dtype != QUANT_F16 && t->dtype != QUANT_BF16) {
            s = quant_fail(w->ctx, QUANT_EUNSUPPORTED, "tensor \"%s\": expected F32, F16 or BF16, "
                           "found %s", t->name, t->dtype_text);
        }
    }
    s = s == QUANT_OK ? quant_safetensors_create(w->ctx, path, items, count, pairs, 4, &w->writer)
                      : s;
    quant_release(w->ctx, items, count, sizeof *items);
    return s;
}

static quant_status put_all(work *w)
{
    size_t count = quant_bank_count(quant_model_bank(w->model));
    find_places(w);
    for (size_t i = 0; i < count; i++) {
        QUANT_TRY(put(w, i));
    }
    return quant_bank_unchanged(w->ctx, quant_model_bank(w->model));
}

static quant_status with_memory(work *w)
{
    size_t count = quant_bank_count(quant_model_bank(w->model)), n = w->largest;
    w->places = quant_alloc(w->ctx, count, sizeof *w->places);
    w->values = quant_alloc(w->ctx, n, sizeof *w->values);
    w->narrow = quant_alloc(w->ctx, n, sizeof *w->narrow);
    w->row = quant_alloc(w->ctx, n, sizeof *w->row);
    w->column = quant_alloc(w->ctx, n, sizeof *w->column);
    bool enough = w->places && w->values && w->narrow && w->row && w->column;
    quant_status s = enough ? put_all(w) : QUANT_ENOMEM;
    quant_release(w->ctx, w->places, count, sizeof *w->places);
    quant_release(w->ctx, w->values, n, sizeof *w->values);
    quant_release(w->ctx, w->narrow, n, sizeof *w->narrow);
    quant_release(w->ctx, w->row, n, sizeof *w->row);
    quant_release(w->ctx, w->column, n, sizeof *w->column);
    return s;
}

quant_status twin_write(quant_context *ctx, quant_model *model, const twin_options *options,
                        const char *path, twin_result *result)
{
    work w = {.ctx = ctx, .model = model, .options = options, .result = result};
    *result = (twin_result){0, 0, 0, 0};
    if (strcmp(quant_bank_format(quant_model_bank(model)), "safetensors") != 0) {
        return quant_fail(ctx, QUANT_EUNSUPPORTED, "twin: expected a model in safetensors, found "
                          "%s", quant_bank_format(quant_model_bank(model)));
    }
    if (!(options->spread >= 0 && options->spread <= 8) || (options->moves & ~(unsigned)TWIN_ALL)) {
        return quant_fail(ctx, QUANT_EINVAL, "twin: expected a spread in 0 .. 8 and moves below %d",
                          TWIN_ALL + 1);
    }
    if (model->arch->one_plus && (options->moves & (TWIN_NORMS | TWIN_KEYS))) {
        return quant_fail(ctx, QUANT_EUNSUPPORTED, "twin: expected norms that multiply by g, %s's "
                          "multiply by 1 + g: only values and inner move", model->arch->name);
    }
    QUANT_TRY(create(&w, path));
    quant_status s = with_memory(&w);
    if (s != QUANT_OK) {
        quant_safetensors_discard(ctx, w.writer);
        return s;
    }
    return quant_safetensors_commit(ctx, w.writer);
}
