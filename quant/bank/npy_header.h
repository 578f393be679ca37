/* SPDX-License-Identifier: GPL-3.0-or-later */
/* npy_header.h - the Python literal at the head of an .npy file; not installed. Used for members of
 * archives as well. */
#ifndef QUANT_BANK_NPY_HEADER_H
#define QUANT_BANK_NPY_HEADER_H

#include "quant/bank/bank.h"

enum { QUANT_NPY_DESCR = 16, QUANT_NPY_HEADER_MAX = 65536 };

typedef struct quant_npy_header {
    char descr[QUANT_NPY_DESCR]; /* "<f4" */
    quant_dtype dtype;
    bool big_endian;
    bool fortran;
    quant_shape shape;
    bool has_newline; /* the header ends in one, as it should */
} quant_npy_header;

/* text[bytes] is all of the header behind its length; major is the format version. */
quant_status quant_npy_parse(quant_context *ctx, const char *text, size_t bytes, int major,
                             quant_npy_header *out);

#endif
