/* SPDX-License-Identifier: GPL-3.0-or-later */
/* triples.c - gate, up and down of a gated feed-forward layer: y = down(silu(gate x) * (up x)).
 *
 * The three are visited one after the other, whatever their order in the file; between the visits
 * only hidden activations are kept, one set a column and one for the reference. */
#include <math.h>
#include <string.h>

#include "quant/internal.h"
#include "quant/lab/compare_parts.h"

/* ---- recognition -------------------------------------------------------------------------- */

enum { GATE, UP, DOWN, PARTS };

/* Names that differ in one component only; `common` stands for it in the triple's name. */
static const struct {
    const char *part[PARTS];
    const char *common;
} families[] = {
    {{"gate_proj", "up_proj", "down_proj"}, "*_proj"},
    {{"gate", "up", "down"}, "*"},
    {{"ffn_gate", "ffn_up", "ffn_down"}, "ffn_*"},
    {{"ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"}, "ffn_*_exps"},
    {{"ffn_gate_shexp", "ffn_up_shexp", "ffn_down_shexp"}, "ffn_*_shexp"},
    {{"w1", "w3", "w2"}, "w*"},
};
enum { FAMILIES = sizeof families / sizeof *families, LONGEST_PART = 16 };

/* A name with the component at [begin, begin + length) replaced, in text[strlen(name) +
 * LONGEST_PART]. */
static void replace(const char *name, size_t begin, size_t length, const char *part, char *text)
{
    size_t n = strlen(part);
    memcpy(text, name, begin);
    memcpy(text + begin, part, n);
    memcpy(text + begin + n, name + begin + length, strlen(name + begin + length) + 1);
}

/* [.., h, in], [.., h, in], [.., out, h] with the same leading axes, none kept for its type. */
static bool fits(const lab_study *s, const size_t member[PARTS])
{
    const quant_shape *shape[PARTS];
    for (int p = 0; p < PARTS; p++) {
        const quant_tensor *t = quant_bank_tensor(s->bank, member[p]);
        shape[p] = &t->shape;
        if (quant_keep_reason(t, s->options->min_elements) || t->shape.rank != shape[0]->rank) {
            return false;
        }
    }
    int last = shape[0]->rank - 1;
    bool same = shape[GATE]->dim[last] == shape[UP]->dim[last] &&
                shape[GATE]->dim[last - 1] == shape[UP]->dim[last - 1] &&
                shape[GATE]->dim[last - 1] == shape[DOWN]->dim[last];
    for (int i = 0; i < last - 1; i++) {
        same &= shape[GATE]->dim[i] == shape[UP]->dim[i] &&
                shape[GATE]->dim[i] == shape[DOWN]->dim[i];
    }
    return same;
}

/* The component of `name` at begin as one part of a family: are the others there? */
static bool complete(lab_study *s, const char *name, size_t begin, size_t length, int family,
                     char *scratch, lab_triple *triple)
{
    for (int p = 0; p < PARTS; p++) {
        replace(name, begin, length, families[family].part[p], scratch);
        if (quant_bank_find(s->ctx, s->bank, scratch, &triple->member[p]) != QUANT_OK) {
            return false;
        }
    }
    replace(name, begin, length, families[family].common, scratch);
    return fits(s, triple->member);
}

static bool is_part(int family, const char *component, size_t length)
{
    for (int p = 0; p < PARTS; p++) {
        const char *part = families[family].part[p];
        if (strlen(part) == length && memcmp(part, component, length) == 0) {
            return true;
        }
    }
    return false;
}

quant_status lab_triple_find(lab_study *s, size_t i, bool *found, lab_triple *triple)
{
    const char *name = quant_bank_tensor(s->bank, i)->name;
    size_t room = strlen(name) + LONGEST_PART;
    char *scratch = quant_alloc(s->ctx, room, 1);
    if (!scratch) {
        return QUANT_ENOMEM;
    }
    *found = false;
    for (size_t begin = 0; name[begin] && !*found;) {
        size_t length = strcspn(name + begin, "./");
        for (int f = 0; f < FAMILIES && !*found; f++) {
            *found = is_part(f, name + begin, length) &&
                     complete(s, name, begin, length, f, scratch, triple);
        }
        begin += length + (name[begin + length] != '\0');
    }
    triple->name = *found ? lab_text_copy(s, scratch) : NULL;
    quant_release(s->ctx, scratch, room, 1);
    return *found && !triple->name ? QUANT_ENOMEM : QUANT_OK;
}

/* ---- measurement -------------------------------------------------------------------------- */

/* One column: hidden activations as they grow, and whether any weight differs. */
typedef struct track {
    lab_outputs hidden;      /* gate x, then silu(gate x) * (up x) */
    bool quantized, dead;
    quant_output_fidelity output;
} track;

typedef struct chain {
    lab_inputs x;
    lab_inputs *inputs;      /* [columns + 1], of the member in turn; owned elsewhere */
    track *tracks;           /* [columns + 1]; the last is the reference */
    lab_outputs reference;   /* y */
} chain;

static void note(track *t, bool quantized, const lab_outputs *outputs)
{
    t->quantized |= quantized;
    t->dead |= !outputs;
}

static void take_gate(lab_study *s, lab_member *m, size_t column, bool quantized,
                      lab_outputs *outputs)
{
    (void)s;
    track *t = &((chain *)m->triple)->tracks[column];
    note(t, quantized, outputs);
    if (outputs) {
        t->hidden = *outputs;
        outputs->y = NULL;
    }
}

static void take_up(lab_study *s, lab_member *m, size_t column, bool quantized,
                    lab_outputs *outputs)
{
    (void)s;
    track *t = &((chain *)m->triple)->tracks[column];
    note(t, quantized, outputs);
    if (t->dead) {
        return;
    }
    uint64_t n = m->view.matrices * m->view.rows * outputs->count;
    for (uint64_t i = 0; i < n; i++) {
        double g = t->hidden.y[i];
        t->hidden.y[i] = g / (1 + exp(-g)) * outputs->y[i];
    }
}

static void take_down(lab_study *s, lab_member *m, size_t column, bool quantized,
                      lab_outputs *outputs)
{
    chain *c = m->triple;
    note(&c->tracks[column], quantized, outputs);
    if (column == s->columns) {
        c->reference = *outputs;
        outputs->y = NULL;
    } else if (!c->tracks[column].dead) {
        c->tracks[column].output = lab_outputs_compare(&c->reference, outputs);
    }
}

/* Inputs of the member in turn: x for gate and up, every column's own hidden vectors for down. */
static void set_inputs(const lab_study *s, chain *c, int part, uint64_t width)
{
    for (size_t i = 0; i <= s->columns; i++) {
        const lab_outputs *hidden = &c->tracks[i].hidden;
        bool dead = c->tracks[i].dead;
        c->inputs[i] = part != DOWN ? c->x
                                    : (lab_inputs){hidden->y, dead ? 0 : hidden->count, width,
                                                   true};
    }
}

static quant_status measure_part(lab_study *s, const lab_triple *triple, int part, chain *c,
                                 bool *alive)
{
    static void (*const take[PARTS])(lab_study *, lab_member *, size_t, bool,
                                     lab_outputs *) = {take_gate, take_up, take_down};
    const quant_shape *shape = &quant_bank_tensor(s->bank, triple->member[part])->shape;
    lab_member m = {.view = lab_view_of(shape, shape->rank - 2), .inputs = c->inputs,
                    .triple = c, .take = take[part], .refused = false};
    if (*alive) {
        set_inputs(s, c, part, m.view.cols);
    }
    QUANT_TRY(lab_tensor_measure(s, triple->member[part], *alive ? &m : NULL));
    *alive = *alive && !m.refused;
    return QUANT_OK;
}

static void append(lab_study *s, const lab_triple *triple, const chain *c)
{
    for (size_t i = 0; i < s->columns; i++) {
        const track *t = &c->tracks[i];
        if (t->quantized && !t->dead) {
            s->triples[s->triple_count++] = (quant_compare_triple){triple->name, i, t->output};
        }
    }
}

static quant_status run_chain(lab_study *s, const lab_triple *triple, chain *c)
{
    const quant_tensor *gate = quant_bank_tensor(s->bank, triple->member[GATE]);
    const char *name = s->options->inputs ? gate->name : triple->name;
    QUANT_TRY(lab_inputs_make(s->ctx, s->options, name, gate->shape.dim[gate->shape.rank - 1],
                              &c->x));
    bool alive = c->x.count > 0;
    for (int part = 0; part < PARTS; part++) {
        QUANT_TRY(measure_part(s, triple, part, c, &alive));
    }
    if (alive) {
        append(s, triple, c);
    }
    return QUANT_OK;
}

quant_status lab_triple_measure(lab_study *s, const lab_triple *triple)
{
    size_t n = s->columns + 1;
    chain c = {.inputs = quant_alloc(s->ctx, n, sizeof *c.inputs),
               .tracks = quant_alloc(s->ctx, n, sizeof *c.tracks)};
    quant_status status = c.inputs && c.tracks ? QUANT_OK : QUANT_ENOMEM;
    if (status == QUANT_OK) {
        memset(c.tracks, 0, n * sizeof *c.tracks);
        status = run_chain(s, triple, &c);
        for (size_t i = 0; i < n; i++) {
            lab_outputs_free(s->ctx, &c.tracks[i].hidden);
        }
    }
    lab_outputs_free(s->ctx, &c.reference);
    lab_inputs_free(s->ctx, &c.x);
    quant_release(s->ctx, c.inputs, n, sizeof *c.inputs);
    quant_release(s->ctx, c.tracks, n, sizeof *c.tracks);
    return status;
}
