/* SPDX-License-Identifier: Apache-2.0 */
/* observer_bins.h - how the histogram of an observer is cut; not installed. */
#ifndef QUANT_OBSERVER_BINS_H
#define QUANT_OBSERVER_BINS_H

#include <string.h>

#include "quant/observer.h"

enum { OBSERVER_OCTAVE = 128, OBSERVER_OCTAVES = QUANT_OBSERVER_BINS / OBSERVER_OCTAVE };

/* Leading 16 bits of |x|: 8 of exponent, 7 of mantissa. Ascending with |x|. */
static inline uint32_t observer_key(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (bits & 0x7fffffffu) >> 16;
}

/* Smallest magnitude with that key; the bin ends where the next one begins. */
static inline double observer_edge(uint32_t key)
{
    uint32_t bits = key << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return key < 0x7f80u ? (double)x : 0x1p128;
}

/* First key of the window for values between two extremes. */
static inline uint32_t observer_first(float lowest, float highest)
{
    uint32_t low = observer_key(lowest), high = observer_key(highest);
    uint32_t octave = (low > high ? low : high) / OBSERVER_OCTAVE;
    return octave < OBSERVER_OCTAVES ? 0 : (octave + 1 - OBSERVER_OCTAVES) * OBSERVER_OCTAVE;
}

/* Of a group; both 0 when nothing was seen. */
static inline void observer_extremes(const quant_observer *o, uint64_t g, float *lowest,
                                     float *highest)
{
    uint64_t from = o->groups == 1 ? 0 : g, to = o->groups == 1 ? o->cols : g + 1;
    *lowest = o->lowest[from];
    *highest = o->highest[from];
    for (uint64_t c = from + 1; c < to; c++) {
        *lowest = o->lowest[c] < *lowest ? o->lowest[c] : *lowest;
        *highest = o->highest[c] > *highest ? o->highest[c] : *highest;
    }
}

/* Magnitudes of one sign that a group holds. */
typedef struct observer_reach {
    double least, most;
} observer_reach;

static inline observer_reach observer_reach_of(const quant_observer *o, uint64_t g, int sign)
{
    float lowest, highest;
    observer_extremes(o, g, &lowest, &highest);
    double low = (double)(sign ? -highest : lowest), high = (double)(sign ? -lowest : highest);
    return (observer_reach){low > 0 ? low : 0, high > 0 ? high : 0};
}

/* An interval of magnitudes of one sign and how many values are spread over it; the bin that holds
 * an extreme ends there. */
typedef struct observer_span {
    double from, to;
    uint64_t n;
} observer_span;

static inline observer_span observer_span_of(const quant_observer *o, uint64_t g, int sign,
                                             uint32_t b, observer_reach r)
{
    uint32_t key = o->first[g] + b;
    observer_span s = {observer_edge(key), observer_edge(key + 1),
                       o->count[(2 * g + (uint64_t)sign) * QUANT_OBSERVER_BINS + b]};
    s.to = s.to > r.most ? r.most : s.to;
    s.from = s.from < r.least ? r.least : s.from;
    s.from = s.from > s.to ? s.to : s.from;
    return s;
}

#endif
