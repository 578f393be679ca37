/* SPDX-License-Identifier: GPL-3.0-or-later */
/* judge_parts.h - what the files with judges share: operands of a case, and places for results. */
#ifndef QUANT_TESTS_JUDGE_PARTS_H
#define QUANT_TESTS_JUDGE_PARTS_H

#include "tests/judge.h"

enum { MOST = 16384 }; /* longest case, in elements */

/* Where scalar and the level on trial write; open_rooms makes both alike. */
extern judge_room want_room, got_room;
void open_rooms(size_t bytes, size_t shift);
/* Both rooms were opened alike and written: results equal, guards whole. */
void compare_rooms(judge_case *c, const char *detail);
void compare_values(judge_case *c, const char *detail, const void *want, const void *got,
                    size_t bytes);

/* The case's floats; where the operation wants finite ones, the nonfinite fill gives way. They lie
 * in judge_edge's `place`. */
const float *floats(const judge_case *c, int place, bool finite);
/* n bytes and'ed with mask, in judge_edge's place 2. */
const uint8_t *bytes_of(const judge_case *c, size_t n, uint8_t mask);

/* Grids that fit the data, clamp some of it, clamp all, overflow the quotient, and have no step.
 * false when there is no k-th. */
bool grid(const judge_case *c, const float *x, unsigned k, qk_linear *p);

/* Judges of judge_blocks.c. */
void judge_absmax_blocks(qk_absmax_blocks_fn *want, qk_absmax_blocks_fn *got, judge_case *c);
void judge_minmax_blocks(qk_minmax_blocks_fn *want, qk_minmax_blocks_fn *got, judge_case *c);
void judge_encode_blocks(qk_encode_blocks_fn *want, qk_encode_blocks_fn *got, judge_case *c);
void judge_encode_int4(qk_encode_int4_fn *want, qk_encode_int4_fn *got, judge_case *c);
void judge_decode_blocks(qk_decode_blocks_fn *want, qk_decode_blocks_fn *got, judge_case *c);
void judge_stream_packed(qk_stream_packed_fn *want, qk_stream_packed_fn *got, judge_case *c);

/* Judge of judge_nearest.c. */
void judge_nearest(qk_nearest_fn *want, qk_nearest_fn *got, judge_case *c);

/* Judges of judge_products.c. */
void judge_gemm_s8(qk_gemm_s8_fn *want, qk_gemm_s8_fn *got, judge_case *c);
void judge_dot_single(qk_dot_single_fn *want, qk_dot_single_fn *got, judge_case *c);
void judge_dot_s8(qk_dot_s8_fn *want, qk_dot_s8_fn *got, judge_case *c);
void judge_gemv4_f32(qk_gemv4_f32_fn *want, qk_gemv4_f32_fn *got, judge_case *c);
void judge_gemv4_s8(qk_gemv4_s8_fn *want, qk_gemv4_s8_fn *got, judge_case *c);

#endif
