/* SPDX-License-Identifier: GPL-3.0-or-later */
/* judge.c - fills, guards and edges; what they are for is in judge.h. */
#include "tests/judge.h"

#include <float.h>
#include <math.h>
#include <string.h>
#include <sys/mman.h>

uint64_t judge_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

int judge_between(uint64_t *state, int low, int high)
{
    return low + (int)(judge_random(state) % (uint64_t)(high - low + 1));
}

/* Twelve uniforms, less six: near enough to a Gaussian to look like weights. */
static float gauss(uint64_t *state)
{
    double sum = -6.0;
    for (int i = 0; i < 12; i++) {
        sum += (double)(judge_random(state) >> 11) * 0x1p-53;
    }
    return (float)sum;
}

static float any_bits(uint64_t *state, bool nonfinite)
{
    for (;;) {
        uint32_t b = (uint32_t)judge_random(state);
        if (nonfinite) {
            b |= 0x7f800000u;
            b = judge_between(state, 0, 3) ? b : b & 0xff800000u;
        }
        float x;
        memcpy(&x, &b, sizeof x);
        if (nonfinite || isfinite(x)) {
            return x;
        }
    }
}

static const float specials[] = {
    0.0f, -0.0f, FLT_TRUE_MIN, -FLT_TRUE_MIN, 0x1.fffffcp-127f, -0x1.8p-140f, FLT_MIN, -FLT_MIN,
    FLT_MAX, -FLT_MAX, 0x1.fffffcp127f, 1.0f, -1.0f, 0.5f, -0.5f, 0x1.fffffep-2f, -0x1.000002p-1f,
    65504.0f, 65519.996f, 65520.0f, -65520.0f, 0x1p-24f, 0x1p-25f, -0x1.000002p-25f, 0x1.ffcp-15f,
    0x1.ffep-15f, 0x1p-14f, 2049.0f, -2051.0f, 0x1.01p0f, 0x1.03p0f, 127.5f, -127.5f, -128.5f,
};
enum { SPECIALS = sizeof specials / sizeof *specials };

void judge_fill(float *x, size_t n, int kind, uint64_t seed)
{
    uint64_t s = seed * JUDGE_FILLS + (uint64_t)kind;
    for (size_t i = 0; i < n; i++) {
        switch (kind) {
        case JUDGE_TIES: x[i] = 0.5f * (float)judge_between(&s, -300, 300); break;
        case JUDGE_OUTLIERS: x[i] = gauss(&s) * (judge_between(&s, 0, 63) ? 1.0f : 1e4f); break;
        case JUDGE_SPECIALS: x[i] = specials[judge_between(&s, 0, SPECIALS - 1)]; break;
        case JUDGE_ZEROS: x[i] = judge_between(&s, 0, 1) ? 0.0f : -0.0f; break;
        case JUDGE_ANY_BITS: x[i] = any_bits(&s, false); break;
        case JUDGE_NONFINITE:
            x[i] = judge_between(&s, 0, 15) ? gauss(&s) : any_bits(&s, true);
            break;
        default: x[i] = gauss(&s); break;
        }
    }
}

void judge_fill_bytes(uint8_t *bytes, size_t n, uint64_t seed)
{
    uint64_t s = ~seed;
    for (size_t i = 0; i < n; i++) {
        bytes[i] = (uint8_t)(judge_random(&s) >> 32);
    }
}

const char *judge_fill_name(int kind)
{
    static const char *const names[JUDGE_FILLS] = {
        "gauss", "ties", "outliers", "specials", "zeros", "any-bits", "nonfinite"};
    return names[kind];
}

size_t judge_first_mismatch(const void *want, const void *got, size_t n)
{
    const uint8_t *w = want, *g = got;
    size_t i = 0;
    while (i < n && w[i] == g[i]) {
        i++;
    }
    return i;
}

/* Differs from byte to byte, so that a copy of a neighbour shows. */
static uint8_t pattern(size_t i)
{
    return (uint8_t)(0xa5u ^ (i * 37u));
}

void *judge_room_open(judge_room *room, size_t bytes, size_t shift)
{
    size_t used = JUDGE_GUARD + shift + bytes + JUDGE_GUARD;
    if (used > JUDGE_ROOM) {
        return NULL;
    }
    for (size_t i = 0; i < used; i++) {
        room->memory[i] = pattern(i);
    }
    room->at = room->memory + JUDGE_GUARD + shift;
    room->bytes = bytes;
    return room->at;
}

bool judge_room_intact(const judge_room *room)
{
    size_t begin = (size_t)(room->at - room->memory), end = begin + room->bytes;
    for (size_t i = 0; i < begin; i++) {
        if (room->memory[i] != pattern(i)) {
            return false;
        }
    }
    for (size_t i = end; i < end + JUDGE_GUARD; i++) {
        if (room->memory[i] != pattern(i)) {
            return false;
        }
    }
    return true;
}

const void *judge_edge(int place, const void *data, size_t bytes)
{
    enum { PAGE = 1 << 16 }; /* a multiple of any page size in use */
    static uint8_t *base[3];
    if (bytes > JUDGE_ROOM) {
        return NULL;
    }
    if (!base[place]) {
        void *m = mmap(NULL, JUDGE_ROOM + PAGE, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (m == MAP_FAILED || mprotect((uint8_t *)m + JUDGE_ROOM, PAGE, PROT_NONE) != 0) {
            return NULL;
        }
        base[place] = m;
    }
    uint8_t *at = base[place] + JUDGE_ROOM - bytes;
    return bytes ? memcpy(at, data, bytes) : at;
}
