/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "quant/bank/sha256.h"

#include <stdio.h>
#include <string.h>

#include "quant/bank/reader.h"

/* First 32 bits of the fractional parts of the cube roots of the first 64 primes. */
static const uint32_t round_constant[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t turn(uint32_t x, int by)
{
    return x >> by | x << (32 - by);
}

/* The message schedule: 16 words of the block, then 48 made of them. */
static void schedule(const unsigned char block[64], uint32_t w[64])
{
    for (int i = 0; i < 16; i++) {
        const unsigned char *p = block + 4 * i;
        w[i] = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
    }
    for (int i = 16; i < 64; i++) {
        uint32_t a = w[i - 15], b = w[i - 2];
        w[i] = w[i - 16] + (turn(a, 7) ^ turn(a, 18) ^ a >> 3) + w[i - 7] +
               (turn(b, 17) ^ turn(b, 19) ^ b >> 10);
    }
}

static void compress(uint32_t state[8], const unsigned char block[64])
{
    uint32_t w[64], s[8];
    schedule(block, w);
    memcpy(s, state, sizeof s);
    for (int i = 0; i < 64; i++) {
        uint32_t a = s[0], e = s[4];
        uint32_t choice = (e & s[5]) ^ (~e & s[6]);
        uint32_t majority = (a & s[1]) ^ (a & s[2]) ^ (s[1] & s[2]);
        uint32_t t1 = s[7] + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + choice +
                      round_constant[i] + w[i];
        uint32_t t2 = (turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + majority;
        memmove(s + 1, s, 7 * sizeof *s);
        s[4] += t1;
        s[0] = t1 + t2;
    }
    for (int i = 0; i < 8; i++) {
        state[i] += s[i];
    }
}

void quant_sha256_begin(quant_sha256 *h)
{
    static const uint32_t start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memcpy(h->state, start, sizeof start);
    h->bytes = 0;
}

void quant_sha256_add(quant_sha256 *h, const void *data, size_t bytes)
{
    const unsigned char *p = data;
    while (bytes > 0) {
        size_t at = (size_t)(h->bytes % 64), n = 64 - at < bytes ? 64 - at : bytes;
        memcpy(h->block + at, p, n);
        h->bytes += n;
        p += n;
        bytes -= n;
        if (h->bytes % 64 == 0) {
            compress(h->state, h->block);
        }
    }
}

void quant_sha256_end(quant_sha256 *h, char text[QUANT_SHA256_TEXT])
{
    static const unsigned char padding[64] = {0x80};
    uint64_t bits = 8 * h->bytes;
    unsigned char length[8];
    for (int i = 0; i < 8; i++) {
        length[i] = (unsigned char)(bits >> (56 - 8 * i));
    }
    quant_sha256_add(h, padding, (size_t)((119 - h->bytes % 64) % 64) + 1);
    quant_sha256_add(h, length, sizeof length);
    for (int i = 0; i < 8; i++) {
        snprintf(text + 8 * i, 9, "%08x", (unsigned)h->state[i]);
    }
}

quant_status quant_bank_sha256(quant_context *ctx, const quant_bank *bank,
                               char text[QUANT_SHA256_TEXT])
{
    enum { PIECE = 1 << 18 };
    quant_sha256 h;
    quant_sha256_begin(&h);
    unsigned char *piece = quant_alloc(ctx, PIECE, 1);
    quant_status s = piece ? QUANT_OK : QUANT_ENOMEM;
    for (size_t i = 0; s == QUANT_OK && i < bank->source_count; i++) {
        const quant_source *source = &bank->sources[i];
        for (uint64_t at = 0; s == QUANT_OK && at < source->size;) {
            size_t n = source->size - at < PIECE ? (size_t)(source->size - at) : PIECE;
            s = quant_source_read(ctx, source, at, piece, n);
            if (s != QUANT_OK) {
                s = quant_fail_prefix(ctx, s, source->path);
                break;
            }
            quant_sha256_add(&h, piece, n);
            at += n;
        }
    }
    quant_release(ctx, piece, PIECE, 1);
    quant_sha256_end(&h, text);
    return s;
}
