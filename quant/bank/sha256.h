/* SPDX-License-Identifier: GPL-3.0-or-later */
/* sha256.h - SHA-256 as FIPS 180-4 defines it, and that of the files of a bank. */
#ifndef QUANT_BANK_SHA256_H
#define QUANT_BANK_SHA256_H

#include "quant/bank/bank.h"

typedef struct quant_sha256 {
    uint32_t state[8];
    uint64_t bytes;          /* so far; below 2^61 */
    unsigned char block[64]; /* its last bytes % 64 are pending */
} quant_sha256;

#define QUANT_SHA256_TEXT 65 /* 64 hexadecimal digits and a NUL */

void quant_sha256_begin(quant_sha256 *h);
void quant_sha256_add(quant_sha256 *h, const void *data, size_t bytes);
/* The digest in lower case. h is to be begun again. */
void quant_sha256_end(quant_sha256 *h, char text[QUANT_SHA256_TEXT]);

/* Of the bytes of all files of an open bank, one after another in its order: for a bank of one
 * file what sha256sum prints, for shards what it prints for their concatenation. */
quant_status quant_bank_sha256(quant_context *ctx, const quant_bank *bank,
                               char text[QUANT_SHA256_TEXT]);

#endif
