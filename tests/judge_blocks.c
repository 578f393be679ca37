/* SPDX-License-Identifier: GPL-3.0-or-later */
/* judge_blocks.c - judges of the operations on many linear regions. */
#include <stdio.h>
#include <string.h>

#include "tests/judge_parts.h"

/* Block lengths at every edge of what a level may treat apart. */
static const size_t block_lengths[] = {1, 3, 7, 8, 15, 16, 17, 31, 32, 33, 48, 64, 100, 128, 1000};
enum { BLOCK_LENGTHS = sizeof block_lengths / sizeof *block_lengths };

/* The block lengths of a case: short arrays see them all, long ones one in turn. */
static bool block_of(const judge_case *c, int k, size_t *block, char text[80])
{
    bool all = c->n <= 131;
    if (k >= (all ? BLOCK_LENGTHS : 1)) {
        return false;
    }
    *block = block_lengths[all ? (size_t)k : (c->n + c->shift) % BLOCK_LENGTHS];
    snprintf(text, 80, "blocks of %zu", *block);
    return true;
}

void judge_absmax_blocks(qk_absmax_blocks_fn *want, qk_absmax_blocks_fn *got, judge_case *c)
{
    const float *x = floats(c, 0, false);
    size_t block;
    char text[80];
    for (int k = 0; block_of(c, k, &block, text); k++) {
        size_t blocks = (c->n + block - 1) / block;
        open_rooms(blocks * sizeof(float), c->shift * sizeof(float));
        want(x, c->n, block, (float *)(void *)want_room.at);
        got(x, c->n, block, (float *)(void *)got_room.at);
        compare_rooms(c, text);
    }
}

void judge_minmax_blocks(qk_minmax_blocks_fn *want, qk_minmax_blocks_fn *got, judge_case *c)
{
    const float *x = floats(c, 0, true);
    size_t block;
    char text[80];
    for (int k = 0; block_of(c, k, &block, text); k++) {
        size_t blocks = (c->n + block - 1) / block;
        open_rooms(2 * blocks * sizeof(float), c->shift * sizeof(float));
        float *w = (float *)(void *)want_room.at, *g = (float *)(void *)got_room.at;
        want(x, c->n, block, w, w + blocks);
        got(x, c->n, block, g, g + blocks);
        compare_rooms(c, text);
    }
}

/* A grid of its own for each block, in places that end at a page nobody may read. */
static qk_blocks grids(const judge_case *c, const float *x, size_t block, int k)
{
    static float scale[MOST];
    static int8_t zero[MOST];
    const size_t blocks = (c->n + block - 1) / block;
    qk_linear p = {0, 0, 0, 0};
    for (size_t j = 0; j < blocks; j++) {
        size_t left = c->n - j * block;
        judge_case one = {.n = left < block ? left : block, .seed = c->seed};
        grid(&one, x + j * block, (unsigned)(j + (size_t)k) % 7, &p);
        scale[j] = p.scale;
        zero[j] = (int8_t)(j % 2 ? p.zero : 0);
    }
    qk_blocks b = {block, judge_edge(1, scale, blocks * sizeof *scale),
                   k % 2 ? judge_edge(2, zero, blocks) : NULL, -128, 127, c->shift ? x : NULL};
    b.lowest = !b.zero && k % 4 == 2 ? -7 : b.lowest;
    b.highest = !b.zero && k % 4 == 2 ? 7 : b.highest;
    return b;
}

void judge_encode_blocks(qk_encode_blocks_fn *want, qk_encode_blocks_fn *got, judge_case *c)
{
    const float *x = floats(c, 0, true);
    size_t block;
    char text[80];
    for (int k = 0; block_of(c, k, &block, text); k++) {
        qk_blocks b = grids(c, x, block, k + (int)(c->n % 16));
        open_rooms(c->n, c->shift);
        size_t w = want(x, c->n, b, want_room.at), g = got(x, c->n, b, got_room.at);
        compare_rooms(c, text);
        compare_values(c, text, &w, &g, sizeof w);
    }
}

/* Bounds that all data keep, that some break, that a magnitude lies on; both ranges of codes. */
void judge_encode_int4(qk_encode_int4_fn *want, qk_encode_int4_fn *got, judge_case *c)
{
    const float *x = floats(c, 0, false);
    float most[MOST];
    qk_absmax_blocks_scalar(x, c->n, QK_INT4_BLOCK, most);
    float edge = c->n ? most[c->seed % ((c->n + 31) / 32)] : 1.0f;
    edge = edge > 0x1p-10f && edge < 0x1p17f ? edge : 1.0f;
    const qk_int4 grids[] = {{7, 0x1p-10f, 0x1p17f, -7, 7}, {7.5f, edge, 0x1p17f, -8, 7},
                             {8, 0x1p-10f, edge, -8, 7}};
    for (int k = 0; k < 3; k++) {
        const size_t scales = (c->n + 31) / 32 * sizeof(uint16_t);
        size_t outside[2] = {0, 0};
        open_rooms(scales + c->n / 2, c->shift * sizeof(uint16_t));
        size_t w = want(x, c->n, grids[k], (uint16_t *)(void *)want_room.at,
                        want_room.at + scales, &outside[0]);
        size_t g = got(x, c->n, grids[k], (uint16_t *)(void *)got_room.at, got_room.at + scales,
                       &outside[1]);
        compare_rooms(c, "scales and codes");
        compare_values(c, "elements done", &w, &g, sizeof w);
        compare_values(c, "clamped", &outside[0], &outside[1], sizeof *outside);
    }
}

void judge_decode_blocks(qk_decode_blocks_fn *want, qk_decode_blocks_fn *got, judge_case *c)
{
    static uint8_t codes[MOST];
    const float *x = floats(c, 0, true);
    size_t block;
    char text[80];
    memcpy(codes, bytes_of(c, c->n, 0xff), c->n); /* their place is that of the zero points */
    for (int k = 0; block_of(c, k, &block, text); k++) {
        qk_blocks b = grids(c, x, block, k + (int)(c->n % 16));
        open_rooms(c->n * sizeof(float), c->shift * sizeof(float));
        const uint8_t *edge = judge_edge(0, codes, c->n);
        want(edge, c->n, b, (float *)(void *)want_room.at);
        got(edge, c->n, b, (float *)(void *)got_room.at);
        compare_rooms(c, text);
        x = floats(c, 0, true); /* its place was that of the codes */
    }
}

/* Packed codes of all widths; blocks as the operation wants them, of few and of many codes. */
void judge_stream_packed(qk_stream_packed_fn *want, qk_stream_packed_fn *got, judge_case *c)
{
    static const size_t lengths[] = {32, 64, 96, 1024, 1056, 4096};
    static uint8_t stream[MOST];
    memcpy(stream, bytes_of(c, c->n, 0xff), c->n); /* their place is that of the zero points */
    for (unsigned bits = 1; bits <= 8; bits++) {
        const size_t block = lengths[(bits + c->n / 8) % (sizeof lengths / sizeof *lengths)];
        qk_blocks b = grids(c, floats(c, 0, true), block, (int)((bits + c->n) % 16));
        char text[80];
        snprintf(text, 80, "%u bits, blocks of %zu", bits, block);
        open_rooms(c->n * sizeof(float), c->shift * sizeof(float));
        const uint8_t *edge = judge_edge(0, stream, (c->n * bits + 7) / 8);
        want(edge, c->n, bits, b, (float *)(void *)want_room.at);
        got(edge, c->n, bits, b, (float *)(void *)got_room.at);
        compare_rooms(c, text);
    }
}
