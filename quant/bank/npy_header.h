/* SPDX-License-Identifier: GPL-3.0-or-later */
/* npy_header.h - the Python literal at the head of an .npy file; not installed. Used for members of
 * archives as well. */
#ifndef QUANT_BANK_NPY_HEADER_H
#define QUANT_BANK_NPY_HEADER_H

#include "quant/bank/reader.h"

enum { QUANT_NPY_DESCR = 16, QUANT_NPY_HEADER_MAX = 65536, QUANT_NPY_PREAMBLE = 12 };

/* Where the literal is. */
typedef struct quant_npy_start {
    int major;
    size_t at, length;
} quant_npy_start;

typedef struct quant_npy_header {
    char descr[QUANT_NPY_DESCR]; /* "<f4" */
    quant_dtype dtype;
    bool big_endian;
    bool fortran;
    quant_shape shape;
    bool has_newline; /* the header ends in one, as it should */
} quant_npy_header;

/* b holds the first min(12, size) bytes of an array of `size` bytes. The header's limits are tested
 * before anything is read or allocated for it. */
quant_status quant_npy_preamble(quant_context *ctx, const unsigned char b[QUANT_NPY_PREAMBLE],
                                uint64_t size, quant_npy_start *out);
/* text[bytes] is all of the header behind its length; major is the format version. */
quant_status quant_npy_parse(quant_context *ctx, const char *text, size_t bytes, int major,
                             quant_npy_header *out);

/* Complete an entry (name, source, offset and how it is packed are set) by its header and append
 * it; `left` bytes lie behind the header. */
quant_status quant_npy_add(quant_context *ctx, quant_bank *bank, const quant_npy_header *h,
                           uint64_t left, quant_entry *entry);

#endif
