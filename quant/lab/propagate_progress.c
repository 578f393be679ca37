/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <inttypes.h>
#include <stdio.h>

#include "quant/lab/propagate_parts.h"

void lab_progress_add(lab_progress *p, const char *what, int64_t layer, uint64_t work)
{
    char text[QUANT_SCHEME_TEXT + 32];
    if (!p || !p->step) {
        return;
    }
    p->done = p->total - p->done < work ? p->total : p->done + work;
    if (layer >= 0) {
        snprintf(text, sizeof text, "%s, layer %" PRId64, what, layer);
    } else {
        snprintf(text, sizeof text, "%s", what);
    }
    p->step(p->user, text, p->done, p->total);
}
