/* SPDX-License-Identifier: Apache-2.0 */
/* random.h - counter-based random numbers: the same bytes on every machine.
 *
 * Philox4x32-10 (Salmon et al. 2011, SC'11, "Parallel random numbers: as easy as 1, 2, 3"), keyed
 * by a seed and a name, indexed by a 64-bit counter: element i of a stream never depends on how
 * the others were drawn. Normals come from our own inverse normal distribution in plain IEEE
 * double arithmetic, not from libm. */
#ifndef QUANT_RANDOM_H
#define QUANT_RANDOM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct quant_random {
    uint32_t key[2];
} quant_random;

/* The stream of (seed, name); name may be "" but not NULL. */
quant_random quant_random_stream(uint64_t seed, const char *name);

/* Four 32-bit words of block `counter`. */
void quant_random_words(const quant_random *r, uint64_t counter, uint32_t out[4]);

/* Element i of the stream: uniform in the open interval (0, 1) (an odd multiple of 2^-53, so it is
 * symmetric about 1/2), standard normal, or an integer in [0, below), every one equally likely; 0
 * when below = 0. Elements 2j and 2j+1 are the halves of block j. Uniform and normal of the same i
 * are functions of one another. */
double quant_random_uniform(const quant_random *r, uint64_t i);
double quant_random_normal(const quant_random *r, uint64_t i);
uint64_t quant_random_below(const quant_random *r, uint64_t i, uint64_t below);

/* Elements first .. first+n-1 as floats. */
void quant_random_fill_normal(const quant_random *r, uint64_t first, size_t n, float *out);

/* Inverse of the standard normal distribution function for p in (0, 1), relative error below
 * 1e-15 claimed by Wichura 1988 (AS 241, PPND16). */
double quant_normal_quantile(double p);

#ifdef __cplusplus
}
#endif
#endif
