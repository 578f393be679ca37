/* SPDX-License-Identifier: GPL-3.0-or-later */
/* text.h - short texts for a terminal: width, escaping, shortening, numbers.
 *
 * Names come from files that nobody checked. Control bytes, invalid UTF-8 and characters that are
 * invisible or turn the reading direction are shown as \xHH or \uHHHH, so that no tensor name can
 * drive the terminal. */
#ifndef QUANT_REPORT_TEXT_H
#define QUANT_REPORT_TEXT_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "quant/fidelity.h"
#include "quant/shape.h"

#define QUANT_TEXT_NUMBER 32 /* bytes that hold any number written here */

/* Terminal columns of s as quant_text_fit would show it without a limit: wide characters count
 * two, combining ones none, escapes their own length. */
int quant_text_width(const char *s);

/* s, escaped, in at most `columns` columns (>= 3) and `capacity` bytes; what is too long loses
 * its middle to one "…". Returns the columns used; out is always terminated. */
int quant_text_fit(const char *s, int columns, char *out, size_t capacity);

/* "842 B", "12.3 kB", "1.04 MB": powers of 1000, three significant digits. */
void quant_text_bytes(uint64_t bytes, char out[QUANT_TEXT_NUMBER]);
/* "260 032": digits in groups of three, as a count of weights is easier to read. */
void quant_text_count(uint64_t count, char out[QUANT_TEXT_NUMBER]);
/* Six decimals; a cosine below 1 is never shown as 1. NaN is "-". */
void quant_text_cosine(double cosine, char out[QUANT_TEXT_NUMBER]);
/* Two decimals; +infinity (no error at all) is "exact"; NaN is "-". */
void quant_text_decibel(double decibel, char out[QUANT_TEXT_NUMBER]);
/* Two decimals: bits per weight. */
void quant_text_bits(double bits, char out[QUANT_TEXT_NUMBER]);
/* Three significant digits; NaN is "-". */
void quant_text_real(double value, char out[QUANT_TEXT_NUMBER]);
/* A share in percent, one decimal: "31.4 %"; what rounds to zero has no sign. NaN is "-". */
void quant_text_percent(double share, char out[QUANT_TEXT_NUMBER]);
/* Six significant digits, or as many more as it takes to tell value and threshold apart: what is
 * below a threshold never reads like it. NaN is "-". */
void quant_text_against(double value, double threshold, char out[QUANT_TEXT_NUMBER]);
/* One of the above, as row `metric` of the metric table is read. */
void quant_text_metric(const quant_metric *metric, double value, char out[QUANT_TEXT_NUMBER]);
/* "64x172"; a scalar is "scalar". */
void quant_text_shape(const quant_shape *shape, char *out, size_t capacity);

/* Running text and a newline to a stream, broken at blanks into lines of at most `columns`, the
 * later ones indented by two. A word longer than a line is shortened. */
void quant_text_wrap(const char *text, int columns, FILE *to);

/* The last part of a path, without the folders of this machine; "." and "/" stay. Points into a
 * copy in out[capacity]. */
void quant_text_base(const char *path, char *out, size_t capacity);

#endif
