/* SPDX-License-Identifier: GPL-3.0-or-later */
/* judge.h - inputs that hunt, places with guards, and the judge of every kernel against scalar.
 *
 * Fills are functions of (kind, seed, n) alone. Inputs lie flush against a page that nobody may
 * read, so reading past the end is a fault that names the operation; outputs lie between guard
 * bytes, and the guards are compared along with the result. */
#ifndef QUANT_TESTS_JUDGE_H
#define QUANT_TESTS_JUDGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"

/* A generator for tests only: splitmix64. */
uint64_t judge_random(uint64_t *state);
/* Uniform in [low, high]. */
int judge_between(uint64_t *state, int low, int high);

enum judge_fills {
    JUDGE_GAUSS,
    JUDGE_TIES,      /* multiples of 1/2: half way between codes at scale 1 */
    JUDGE_OUTLIERS,  /* one in 64 is 10^4 times larger */
    JUDGE_SPECIALS,  /* +-0, subnormals, the smallest normal, +-FLT_MAX, edges of f16 and bf16 */
    JUDGE_ZEROS,     /* +0 and -0 */
    JUDGE_ANY_BITS,  /* finite, every exponent alike */
    JUDGE_NONFINITE, /* Gauss with NaN of all payloads and infinities; the only one with any */
    JUDGE_FILLS
};
void judge_fill(float *x, size_t n, int kind, uint64_t seed);
void judge_fill_bytes(uint8_t *bytes, size_t n, uint64_t seed);
const char *judge_fill_name(int kind);

/* Index of the first byte that differs, n when none does. */
size_t judge_first_mismatch(const void *want, const void *got, size_t n);

/* A place for an output of `bytes` bytes, `shift` bytes after a 64-byte boundary, with JUDGE_GUARD
 * guard bytes on both sides. Everything is set to a pattern on opening. */
enum { JUDGE_GUARD = 64, JUDGE_ROOM = 1 << 18 };
typedef struct judge_room {
    uint8_t *at;   /* where the output goes */
    size_t bytes;
    _Alignas(64) uint8_t memory[JUDGE_ROOM];
} judge_room;
void *judge_room_open(judge_room *room, size_t bytes, size_t shift);
/* True when no guard byte changed. */
bool judge_room_intact(const judge_room *room);

/* A copy of `bytes` bytes that ends at a page nobody may read. There are three such places (0..2);
 * each call on one replaces what it held. bytes <= JUDGE_ROOM. NULL when pages cannot be had. */
const void *judge_edge(int place, const void *data, size_t bytes);

/* One case: every operation of kernels.def, `got` against `want`, bit for bit. */
typedef struct judge_case {
    size_t n;
    int fill;
    uint64_t seed;
    size_t shift;    /* output misaligned by this many elements */
    bool quiet;      /* count faults without printing them: the judge itself is on trial */
    size_t faults;   /* out: disagreements and broken guards */
    char text[200];  /* out: the last fault, "encode_linear avx2 n 17 ...: byte 3, ..." */
} judge_case;
void judge_kernels(const qk_table *want, const qk_table *got, judge_case *c);

#endif
