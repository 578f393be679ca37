/* SPDX-License-Identifier: GPL-3.0-or-later */
/* pins.h - thresholds that were measured once and are checked ever after.
 *
 * A pins file is JSON, schema quant.pins/1, written by report/pins_json.h and open to edits:
 *
 *     {"schema": "quant.pins/1", "note": "why", "margin": "...",
 *      "reference": {"name": "ref.npz", "sha256": "..."}, "candidate": {...},
 *      "tokens_sha256": "..." or null, "scheme": {"text": "...", "sha256": "..."} or null,
 *      "arrays": [{"array": "logits_full", "measured": {...}, "gates": ["cosine>=0.985", ...]}]}
 *
 * Read are schema, reference.sha256, tokens_sha256, scheme, and array and gates of each array; a
 * gate is an expression of gate.h about that array alone. */
#ifndef QUANT_LAB_PINS_H
#define QUANT_LAB_PINS_H

#include "quant/lab/gate.h"

typedef struct quant_pins quant_pins;

/* QUANT_EVERSION for another schema, QUANT_EFIELD or QUANT_ETYPE for what is missing or of the
 * wrong type, and when nothing is pinned at all; QUANT_ESYNTAX for a gate that is none. */
quant_status quant_pins_read(quant_context *ctx, const char *path, quant_pins **pins);
void quant_pins_free(quant_context *ctx, quant_pins *pins); /* NULL allowed */

/* QUANT_ECHECKSUM unless reference and tokens are those that were pinned. tokens is "" when there
 * are none; scheme is the canonical text, NULL when not told: it is not compared then. */
quant_status quant_pins_match(quant_context *ctx, const quant_pins *pins, const char *reference,
                              const char *tokens, const char *scheme);

/* Judge pinned gate i on a result; false past the end. A pinned array that was not measured fails.
 * The verdict borrows from the pins. */
bool quant_pins_judge(const quant_pins *pins, size_t i, const quant_array_result *result,
                      quant_gate_verdict *verdict);
/* True when some gate is about the array. */
bool quant_pins_know(const quant_pins *pins, const char *array);

/* Gate i for a row that was measured, false past the end: each figure with a margin of a quarter.
 *     cosine, argmax_agreement   1 - 1.25 (1 - value)      worst position and pooled; share
 *     relative_error             1.25 value                worst position and pooled
 *     sqnr_db                    value - 20 log10(1.25)    pooled
 *     max_abs_error              1.25 value                worst position
 * in the fewest digits that stay within a tenth of the margin. Figures that are NaN (nothing live)
 * or an infinite SQNR are left out; zero error is pinned as zero. */
#define QUANT_PIN_TEXT 64
extern const char quant_pin_margin[]; /* the rule in words */
bool quant_pin_gate(const quant_array_row *row, size_t i, char text[QUANT_PIN_TEXT]);

/* SHA-256 of a text. */
void quant_pin_sha256(const char *text, char out[QUANT_SHA256_TEXT]);

#endif
