/* SPDX-License-Identifier: GPL-3.0-or-later */
/* corpus.h - malformed and odd but valid banks, one row of corpus.def each, made at run time. */
#ifndef QUANT_TESTS_CORPUS_H
#define QUANT_TESTS_CORPUS_H

#include "quant/status.h"
#include "tests/bytes.h"

typedef enum corpus_kind { CORPUS_ST, CORPUS_NPY, CORPUS_ASM, CORPUS_INDEX } corpus_kind;

typedef struct corpus_row {
    corpus_kind kind;
    const char *name;
    quant_status expected; /* QUANT_OK for the valid ones */
    const char *text;
    size_t length;
    size_t data;           /* bytes behind the header */
    int major, minor;      /* of an .npy */
} corpus_row;

extern const corpus_row corpus_rows[];
extern const size_t corpus_count;

void corpus_build(const corpus_row *row, bytes *b);
/* Build and write it, for an index with its two shards beside it; the path to open. */
const char *corpus_save(const corpus_row *row);

#endif
