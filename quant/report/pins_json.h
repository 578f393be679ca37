/* SPDX-License-Identifier: GPL-3.0-or-later */
/* pins_json.h - the file that lab/pins.h reads. No times and no folders: the same inputs give the
 * same bytes. */
#ifndef QUANT_REPORT_PINS_JSON_H
#define QUANT_REPORT_PINS_JSON_H

#include <stdio.h>

#include "quant/lab/pins.h"

typedef struct quant_pins_report {
    const char *reference, *candidate;               /* base names */
    const char *reference_sha256, *candidate_sha256; /* of the files */
    const char *note, *scheme;                       /* NULL: not given; scheme in canonical form */
    const quant_array_result *result;
} quant_pins_report;

/* QUANT_ENONFINITE when an array has NaN or infinity, QUANT_EFIELD when nothing can be pinned. */
quant_status quant_pins_json(quant_context *ctx, const quant_pins_report *report, FILE *to);

#endif
