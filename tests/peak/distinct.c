/* SPDX-License-Identifier: GPL-3.0-or-later */
/* distinct FILE BITS: a bank of one tensor w of 2^BITS floats (14 .. 26), no two alike: of either
 * sign the largest 2^(BITS-1) below 1/2, in an order that is far from sorted. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PIECE = 8192, HALF = 0x3f000000 };

/* Each of the numbers below 2^bits once. */
static uint32_t shuffle(uint32_t i, uint32_t mask)
{
    i = i * UINT32_C(0x9e3779b1) & mask;
    i ^= i >> 7;
    return i * UINT32_C(0x85ebca6b) & mask;
}

static int write_bank(FILE *f, unsigned bits)
{
    static uint32_t piece[PIECE];
    uint32_t n = UINT32_C(1) << bits, half = n / 2;
    char header[128] = {0};
    snprintf(header + 8, sizeof header - 8,
             "{\"w\":{\"dtype\":\"F32\",\"shape\":[%u,%d],\"data_offsets\":[0,%llu]}}", n / PIECE,
             PIECE, 4ull * n);
    size_t length = (strlen(header + 8) + 7) / 8 * 8;
    memset(header + 8 + strlen(header + 8), ' ', length - strlen(header + 8));
    header[0] = (char)length;
    size_t good = fwrite(header, 8 + length, 1, f);
    for (uint32_t i = 0; good == 1 && i < n; i += PIECE) {
        for (uint32_t j = 0; j < PIECE; j++) {
            uint32_t k = shuffle(i + j, n - 1);
            piece[j] = HALF - 1 - k % half + (k < half ? 0 : UINT32_C(1) << 31);
        }
        good = fwrite(piece, sizeof piece, 1, f);
    }
    return good == 1;
}

int main(int argc, char **argv)
{
    unsigned bits = argc == 3 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
    FILE *f = bits >= 14 && bits <= 26 ? fopen(argv[1], "wb") : NULL;
    int good = f && write_bank(f, bits);
    if (f && fclose(f) != 0) {
        good = 0;
    }
    if (!good) {
        fprintf(stderr, "usage: distinct FILE BITS, 14 to 26; or FILE could not be written\n");
    }
    return !good;
}
