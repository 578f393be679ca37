/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "quant/report/smooth_report.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "quant/report/table.h"
#include "quant/report/text.h"

/* What one paragraph tells of. */
typedef struct story {
    char alphas[4096];
    size_t used, layers;
    double error2, unsmoothed2;
} story;

static bool belongs(const quant_smooth_choice *c, const quant_smooth_choice *to)
{
    return strcmp(c->scheme, to->scheme) == 0 && c->input == to->input;
}

/* The first of its scheme and input? */
static bool begins(const quant_grids *grids, size_t i, const quant_smooth_choice *c)
{
    quant_smooth_choice before;
    for (size_t k = 0; k < i && quant_grids_choice(grids, k, &before); k++) {
        if (belongs(&before, c)) {
            return false;
        }
    }
    return true;
}

static void add(story *s, const quant_smooth_choice *c)
{
    if (s->used + 32 < sizeof s->alphas) {
        char alpha[QUANT_TEXT_NUMBER] = "-"; /* outputs of 0 */
        if (!isnan(c->error)) {
            snprintf(alpha, sizeof alpha, "%g", c->alpha);
        }
        s->used += (size_t)snprintf(s->alphas + s->used, sizeof s->alphas - s->used, " %s",
                                    alpha);
    } else if (s->alphas[s->used - 1] != '.') {
        s->used += (size_t)snprintf(s->alphas + s->used, sizeof s->alphas - s->used, " ...");
    }
    if (!isnan(c->error)) {
        s->layers++;
        s->error2 += c->error * c->error;
        s->unsmoothed2 += c->unsmoothed * c->unsmoothed;
    }
}

static void tell(const quant_grids *grids, const quant_smooth_choice *first, FILE *to)
{
    char text[8192], error[2][QUANT_TEXT_NUMBER];
    quant_smooth_choice c;
    story s = {.used = 0};
    for (size_t i = 0; quant_grids_choice(grids, i, &c); i++) {
        if (belongs(&c, first)) {
            add(&s, &c);
        }
    }
    quant_text_real(sqrt(s.error2 / (double)s.layers), error[0]);
    quant_text_real(sqrt(s.unsmoothed2 / (double)s.layers), error[1]);
    snprintf(text, sizeof text, "%s: alpha of %s, layer by layer:%s; predicted output error %s, "
             "unsmoothed %s (by %s)", first->scheme,
             first->input == QUANT_STAGE_ATTENTION_INPUT ? "q k v" : "gate up", s.alphas, error[0],
             error[1], first->moments ? "second moments" : "mean squares of the channels");
    quant_text_wrap(text, QUANT_TABLE_WIDTH, to);
}

void quant_smooth_report_text(const quant_grids *grids, FILE *to)
{
    quant_smooth_choice c;
    for (size_t i = 0; grids && quant_grids_choice(grids, i, &c); i++) {
        if (begins(grids, i, &c)) {
            tell(grids, &c, to);
        }
    }
}

void quant_smooth_report_json(quant_json_writer *w, const quant_grids *grids)
{
    quant_smooth_choice c;
    if (!grids || !quant_grids_choice(grids, 0, &c)) {
        return;
    }
    quant_json_open(w, "smooth", '[', QUANT_JSON_LINES);
    for (size_t i = 0; quant_grids_choice(grids, i, &c); i++) {
        quant_json_open(w, NULL, '{', QUANT_JSON_INLINE);
        quant_json_put(w, "scheme", quant_value_text(c.scheme));
        quant_json_put(w, "layer", quant_value_count(c.layer));
        quant_json_put(w, "input", quant_value_text(quant_stage_name(c.input)));
        quant_json_put(w, "alpha", quant_value_real(c.alpha));
        quant_json_put(w, "predicted_error", quant_value_real(c.error));
        quant_json_put(w, "predicted_error_unsmoothed", quant_value_real(c.unsmoothed));
        quant_json_put(w, "by_moments", quant_value_flag(c.moments));
        quant_json_close(w);
    }
    quant_json_close(w);
}
