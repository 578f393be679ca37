/* SPDX-License-Identifier: GPL-3.0-or-later */
/* gate_fields.h - the figures of one array as members of a JSON object. Not installed. */
#ifndef QUANT_REPORT_GATE_FIELDS_H
#define QUANT_REPORT_GATE_FIELDS_H

#include "quant/lab/array_gate.h"
#include "quant/report/json_out.h"

void quant_gate_put_row(quant_json_writer *w, const quant_array_row *row);

#endif
