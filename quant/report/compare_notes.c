/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "quant/report/compare_notes.h"

#include <inttypes.h>
#include <string.h>

#include "quant/report/table.h"
#include "quant/report/text.h"

/* Name in at most `columns` columns for running text. */
static const char *brief(const char *name, int columns, char out[512])
{
    quant_text_fit(name, columns, out, 512);
    return out;
}

static bool same_list(const quant_compare_listed *a, const quant_compare_listed *b)
{
    return a->scheme == b->scheme && strcmp(a->reason, b->reason) == 0;
}

enum { UNDER = QUANT_SCHEME_TEXT + 8 };

/* " under SCHEME" for what concerns one column only. */
static const char *under(const quant_compare_result *r, size_t scheme, char out[UNDER])
{
    bool one = scheme < r->summary_count;
    snprintf(out, UNDER, "%s%s", one ? " under " : "", one ? r->summary[scheme].scheme_text : "");
    return out;
}

/* "kept: 11 tensors, 1-D: a, b, … (--verbose lists all)", or one line each when verbose. */
static void print_kept_like(const quant_compare_result *r, size_t first, bool verbose, FILE *to)
{
    char line[1024], name[512], where[UNDER];
    const quant_compare_listed *kind = &r->kept[first];
    size_t count = 0, named = 0;
    for (size_t i = first; i < r->kept_count; i++) {
        count += same_list(&r->kept[i], kind);
    }
    size_t at = (size_t)snprintf(line, sizeof line, "kept: %zu tensor%s%s, %s:", count,
                                 count == 1 ? "" : "s", under(r, kind->scheme, where),
                                 brief(kind->reason, 90, name));
    for (size_t i = first; !verbose && i < r->kept_count && named < 3; i++) {
        if (same_list(&r->kept[i], kind)) {
            at += (size_t)snprintf(line + at, sizeof line - at, "%s %s", named++ ? "," : "",
                                   brief(r->kept[i].name, 40, name));
        }
    }
    snprintf(line + at, sizeof line - at, "%s",
             !verbose && count > named ? ", … (--verbose lists all)" : "");
    quant_text_wrap(line, QUANT_TABLE_WIDTH, to);
    for (size_t i = first; verbose && i < r->kept_count; i++) {
        if (same_list(&r->kept[i], kind)) {
            fprintf(to, "  %s\n", brief(r->kept[i].name, QUANT_TABLE_WIDTH - 2, name));
        }
    }
}

void quant_compare_print_listed(const quant_compare_result *r, bool verbose, FILE *to)
{
    for (size_t i = 0; i < r->kept_count; i++) {
        size_t j = 0;
        while (!same_list(&r->kept[j], &r->kept[i])) {
            j++;
        }
        if (j == i) {
            print_kept_like(r, i, verbose, to);
        }
    }
    for (size_t i = 0; i < r->refused_count; i++) {
        char line[2048], name[512], where[UNDER];
        snprintf(line, sizeof line, "refused: %s%s: %.400s", brief(r->refused[i].name, 50, name),
                 under(r, r->refused[i].scheme, where), r->refused[i].reason);
        quant_text_wrap(line, QUANT_TABLE_WIDTH, to);
    }
}

/* What is worth a note about a row: how much of it there is, 0 for none. */
static uint64_t stiff(const quant_compare_row *row)
{
    return !row->foldable;
}

static uint64_t widened(const quant_compare_row *row)
{
    return row->escalated;
}

static uint64_t raised(const quant_compare_row *row)
{
    return row->info.raised_scales;
}

/* Outputs of a single number: their cosine says nothing but whether the sign survived. */
static uint64_t signs_only(const quant_compare_row *row)
{
    return row->output.pairs == row->output.pooled.n ? row->output.pairs : 0;
}

static uint64_t weights_alone(const quant_compare_row *row)
{
    return row->activations != QUANT_ACTIVATION_FLOAT && row->parts.n == 0;
}

static uint64_t calibrated_on_itself(const quant_compare_row *row)
{
    return row->own_ranges && row->parts.n > 0;
}

static const struct {
    uint64_t (*amount)(const quant_compare_row *row);
    const char *text;
} row_notes[] = {
    {stiff, "scales vary along the contracted axis, not foldable into an integer GEMM (tensors)"},
    {widened, "re-encoded with store=f32 because a scale overflowed its type (tensors)"},
    {signs_only, "outputs of one number, whose cosine is only a sign, +1 or -1; they are in mean "
                 "and minimum (pairs)"},
    {weights_alone, "no inputs to quantize (--inputs, --probe): figures are of the weights alone "
                    "(tensors)"},
    {calibrated_on_itself, "static scales were calibrated on the very inputs that they are "
                           "measured on; others may lose more (tensors)"},
    {raised, "subnormal scales rounded up to the next value of their type (scales)"},
};

/* "note: TEXT: scheme 3, scheme 5": each kind of note once, with the schemes that it is about. */
void quant_compare_print_row_notes(const quant_compare_result *r, FILE *to)
{
    for (size_t k = 0; k < sizeof row_notes / sizeof *row_notes; k++) {
        char line[2048];
        size_t at = (size_t)snprintf(line, sizeof line, "note: %s:", row_notes[k].text);
        size_t about = 0;
        for (size_t scheme = 0; scheme < r->summary_count; scheme++) {
            uint64_t amount = 0;
            for (size_t i = 0; i < r->row_count; i++) {
                amount += r->rows[i].scheme == scheme ? row_notes[k].amount(&r->rows[i]) : 0;
            }
            if (amount > 0 && at < sizeof line) {
                at += (size_t)snprintf(line + at, sizeof line - at, "%s %s %" PRIu64,
                                       about++ ? "," : "", r->summary[scheme].scheme_text, amount);
            }
        }
        if (about > 0) {
            quant_text_wrap(line, QUANT_TABLE_WIDTH, to);
        }
    }
}
