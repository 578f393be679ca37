/* SPDX-License-Identifier: Apache-2.0 */
/* store.h - scales and table entries in their storage type; not installed. QUANT_STORE_I8 has a
 * size and a name here and nothing else. */
#ifndef QUANT_STORE_H
#define QUANT_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "quant/scheme.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "packed data are little-endian and written with memcpy; this host is not"
#endif

size_t quant_store_bytes(quant_store s);       /* of one value */
const char *quant_store_name(quant_store s);   /* "f32" */
float quant_store_smallest(quant_store s);     /* smallest positive normal value */

/* Nearest value of the type, ties to even, as a float; infinite when x overflows the type. */
float quant_store_round(quant_store s, float x);
/* Smallest value of the type that is >= x, for x >= 0. */
float quant_store_round_up(quant_store s, float x);

/* Largest value of the type below x, for a positive value x of the type. */
float quant_store_below(quant_store s, float x);

/* Element i of a segment; put takes a value that the type holds exactly. */
void quant_store_put(quant_store s, uint8_t *segment, uint64_t i, float value);
float quant_store_get(quant_store s, const uint8_t *segment, uint64_t i);
/* Elements first .. first + n - 1 at once, n <= 256. */
void quant_store_load(quant_store s, const uint8_t *segment, uint64_t first, size_t n, float *out);
void quant_store_save(quant_store s, uint8_t *segment, uint64_t first, size_t n, const float *in);
/* quant_store_round of n numbers in place, n <= 256. */
void quant_store_round_many(quant_store s, float *x, size_t n);

#endif
