/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/random.h"

#include <math.h>

#include "quant/internal.h"

/* Philox4x32-10. Each round multiplies words 0 and 2 by fixed odd numbers; the high halves, mixed
 * with the key and the other words, and the low halves change places. The key advances by the
 * golden ratio and sqrt(3) - 1, both as 32-bit fractions. */
static void philox(const uint32_t key[2], const uint32_t counter[4], uint32_t out[4])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xd2511f53u * c0;
        uint64_t p1 = (uint64_t)0xcd9e8d57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += 0x9e3779b9u;
        k1 += 0xbb67ae85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

/* Words 0 and 1 of the counter hold the block, words 2 and 3 a further draw for the same block:
 * quant_random_below rejects into it, so that no element shares words with another. */
static void block_words(const quant_random *r, uint64_t block, uint64_t draw, uint32_t out[4])
{
    const uint32_t counter[4] = {(uint32_t)block, (uint32_t)(block >> 32), (uint32_t)draw,
                                 (uint32_t)(draw >> 32)};
    philox(r->key, counter, out);
}

/* 64-bit FNV-1a of the name without its terminator. */
static uint64_t name_hash(const char *name)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (const unsigned char *p = (const unsigned char *)name; *p; p++) {
        h = (h ^ *p) * UINT64_C(0x100000001b3);
    }
    return h;
}

/* The key is the first two words of the block whose key is the seed and whose counter is the
 * hash of the name: for one seed different hashes give different blocks (Philox is a bijection of
 * the counter), so two names of one seed meet with the probability of a 64-bit collision. */
quant_random quant_random_stream(uint64_t seed, const char *name)
{
    const quant_random by_seed = {{(uint32_t)seed, (uint32_t)(seed >> 32)}};
    uint32_t words[4];
    block_words(&by_seed, name_hash(name), 0, words);
    return (quant_random){{words[0], words[1]}};
}

void quant_random_words(const quant_random *r, uint64_t counter, uint32_t out[4])
{
    block_words(r, counter, 0, out);
}

/* Element i owns words 2(i mod 2) and 2(i mod 2) + 1 of block i/2, the first one low. */
static uint64_t element_bits(const quant_random *r, uint64_t i, uint64_t draw)
{
    uint32_t w[4];
    block_words(r, i / 2, draw, w);
    return i % 2 ? (uint64_t)w[3] << 32 | w[2] : (uint64_t)w[1] << 32 | w[0];
}

/* An odd multiple of 2^-53: exact in a double, never 0 or 1, and symmetric about 1/2. */
static double uniform_of(uint64_t bits)
{
    return (double)((bits >> 12) * 2 + 1) * 0x1p-53;
}

double quant_random_uniform(const quant_random *r, uint64_t i)
{
    return uniform_of(element_bits(r, i, 0));
}

double quant_random_normal(const quant_random *r, uint64_t i)
{
    return quant_normal_quantile(quant_random_uniform(r, i));
}

/* Remainders of [0, 2^64) modulo `below` are equally likely once the first 2^64 mod below values
 * are thrown away; they are less than half of all, so a draw is kept with probability > 1/2. */
uint64_t quant_random_below(const quant_random *r, uint64_t i, uint64_t below)
{
    if (below < 2) {
        return 0;
    }
    uint64_t rejected = (0 - below) % below;
    uint64_t bits = element_bits(r, i, 0);
    for (uint64_t draw = 1; bits < rejected; draw++) {
        bits = element_bits(r, i, draw);
    }
    return bits % below;
}

void quant_random_fill_normal(const quant_random *r, uint64_t first, size_t n, float *out)
{
    size_t k = 0;
    if (n && first % 2) {
        out[k++] = (float)quant_random_normal(r, first);
    }
    for (; n - k >= 2; k += 2) {
        uint32_t w[4];
        block_words(r, (first + k) / 2, 0, w);
        out[k] = (float)quant_normal_quantile(uniform_of((uint64_t)w[1] << 32 | w[0]));
        out[k + 1] = (float)quant_normal_quantile(uniform_of((uint64_t)w[3] << 32 | w[2]));
    }
    if (k < n) {
        out[k] = (float)quant_random_normal(r, first + k);
    }
}

/* x = m 2^e with m in [sqrt(1/2), sqrt(2)); log m = 2 atanh(s), s = (m-1)/(m+1), |s| <= 0.1716.
 * The series stops after s^21/21; what is left is at most s^22/23/(1-s^2) <= 7e-19 of the sum.
 * With u = 2^-53: m-1 is exact, s and the sum carry at most 6u, e ln2 at most 2u (constant and
 * product), the last addition u. |2 atanh(s)| <= 0.35. For e = 0 the relative error is 6u; for
 * e = -1 at worst, |log x| >= 0.346, it is (2 * 0.7 + 6 * 0.35) / 0.346 u + u < 12u. The normals
 * have x <= 0.075, so |log x| >= 2.59 and |2 atanh(s)| <= 0.14 |log x|: there it is at most
 * (2 * 1.14 + 6 * 0.14 + 1) u < 4.2u. */
double quant_log(double x)
{
    int e;
    double m = frexp(x, &e);
    if (m < 0x1.6a09e667f3bcdp-1) {
        m *= 2;
        e--;
    }
    double s = (m - 1) / (m + 1);
    double z = s * s;
    double sum = 0;
    for (int k = 21; k >= 3; k -= 2) {
        sum = (sum + 1.0 / k) * z;
    }
    return (double)e * 0x1.62e42fefa39efp-1 + 2 * (s + s * sum);
}

/* p(x)/q(x), both of degree 7, coefficients from the constant upwards. */
static double ratio7(const double p[8], const double q[8], double x)
{
    double above = p[7], below = q[7];
    for (int i = 6; i >= 0; i--) {
        above = above * x + p[i];
        below = below * x + q[i];
    }
    return above / below;
}

/* Wichura 1988, AS 241, PPND16: a rational function of q = p - 1/2 for |q| <= 0.425, otherwise
 * one of r = sqrt(-log(min(p, 1-p))), with a second one from r = 5 (p < 1.4e-11) on. Its tables
 * are good to 1e-16; the rounding of r (2.1u from quant_log, u/2 from sqrt) is multiplied by
 * dlog(z)/dlog(r) <= 1.4 in the tails. */
double quant_normal_quantile(double p)
{
    static const double a[8] = {3.3871328727963666080e0, 1.3314166789178437745e2,
                                1.9715909503065514427e3, 1.3731693765509461125e4,
                                4.5921953931549871457e4, 6.7265770927008700853e4,
                                3.3430575583588128105e4, 2.5090809287301226727e3};
    static const double b[8] = {1.0, 4.2313330701600911252e1,
                                6.8718700749205790830e2, 5.3941960214247511077e3,
                                2.1213794301586595867e4, 3.9307895800092710610e4,
                                2.8729085735721942674e4, 5.2264952788528545610e3};
    static const double c[8] = {1.42343711074968357734e0, 4.63033784615654529590e0,
                                5.76949722146069140550e0, 3.64784832476320460504e0,
                                1.27045825245236838258e0, 2.41780725177450611770e-1,
                                2.27238449892691845833e-2, 7.74545014278341407640e-4};
    static const double d[8] = {1.0, 2.05319162663775882187e0,
                                1.67638483018380384940e0, 6.89767334985100004550e-1,
                                1.48103976427480074590e-1, 1.51986665636164571966e-2,
                                5.47593808499534494600e-4, 1.05075007164441684324e-9};
    static const double e[8] = {6.65790464350110377720e0, 5.46378491116411436990e0,
                                1.78482653991729133580e0, 2.96560571828504891230e-1,
                                2.65321895265761230930e-2, 1.24266094738807843860e-3,
                                2.71155556874348757815e-5, 2.01033439929228813265e-7};
    static const double f[8] = {1.0, 5.99832206555887937690e-1,
                                1.36929880922735805310e-1, 1.48753612908506148525e-2,
                                7.86869131145613259100e-4, 1.84631831751005468180e-5,
                                1.42151175831644588870e-7, 2.04426310338993978564e-15};
    double q = p - 0.5;
    if (fabs(q) <= 0.425) {
        return q * ratio7(a, b, 0.180625 - q * q);
    }
    double r = sqrt(-quant_log(q < 0 ? p : 1 - p));
    double z = r <= 5 ? ratio7(c, d, r - 1.6) : ratio7(e, f, r - 5);
    return q < 0 ? -z : z;
}
