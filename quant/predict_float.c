/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <string.h>

#include "quant/internal.h"
#include "quant/predict_family.h"
#include "quant/store.h"

/* Below MANY inexact elements a binade scatters by more than sqrt(0.8/MANY) = 6 %, below FEW_CELLS
 * steps it is not evenly filled: there the sum of the true errors is used instead. */
enum { MANY = 256, FEW_CELLS_LOG = 4 };

/* Elements of one binade that are not representable, the union of the bits that they lose, and
 * their squared errors in units of the last bit of the f32. */
typedef struct binade {
    uint64_t inexact;
    uint32_t lost;
    double squares;
} binade;

/* Bits of the 24-bit mantissa that a 16-bit float with p stored bits and smallest normal 2^low
 * cannot keep for the f32 exponent field e: more and more of them below 2^low. */
static int lost_bits(int p, int low, int e)
{
    int exponent = (e ? e : 1) - 127;
    return 23 - p + (exponent < low ? low - exponent : 0);
}

/* Rounding to multiples of h errs by h^2/12 for a uniform density. Values that are multiples of
 * h/2^t (they came from a narrower type) err by h^2/12 (1 + 2/4^t) on average over all 2^t
 * residues, the representable one included, which are 1 in 2^t. */
static double binade_error(binade b, int lost, int e)
{
    if (b.inexact == 0) {
        return 0;
    }
    double unit = ldexp(1, (e ? e : 1) - 127 - 23), h = ldexp(unit, lost);
    if (b.inexact < MANY || 23 - lost < FEW_CELLS_LOG) {
        return b.squares * unit * unit;
    }
    double residues = ldexp(1, lost - __builtin_ctz(b.lost));
    double mean = h * h / 12 * (1 + 2 / (residues * residues)) * residues / (residues - 1);
    return (double)b.inexact * mean;
}

quant_status quant_predict_float(quant_context *ctx, quant_store store, const float *w, uint64_t n,
                                 double *error)
{
    bool half = store == QUANT_STORE_F16;
    int p = half ? 10 : 7, low = half ? -14 : -126;
    uint32_t overflow = half ? 0x477ff000u : 0x7f7f8000u; /* halfway beyond the largest value */
    binade binades[256];
    memset(binades, 0, sizeof binades);
    *error = 0;
    for (uint64_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &w[i], sizeof bits);
        bits &= 0x7fffffffu;
        if (bits >= overflow) {
            return quant_fail(ctx, QUANT_ESCALE, "element: expected to fit its storage type, found "
                              "overflow");
        }
        int e = (int)(bits >> 23), lost = lost_bits(p, low, e);
        if (lost > 24) { /* below half of the smallest subnormal: becomes zero */
            *error += (double)w[i] * (double)w[i];
            continue;
        }
        uint32_t mantissa = (bits & 0x7fffffu) | (e ? 0x800000u : 0);
        uint32_t tail = mantissa & ((1u << lost) - 1);
        binades[e].inexact += tail != 0;
        binades[e].lost |= tail;
        double off = tail >> (lost - 1) ? (double)((1u << lost) - tail) : (double)tail;
        binades[e].squares += off * off;
    }
    for (int e = 0; e < 256; e++) {
        *error += binade_error(binades[e], lost_bits(p, low, e), e);
    }
    return QUANT_OK;
}
