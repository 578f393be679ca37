/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <string.h>

#include "quant/bank/bank.h"

typedef struct dtype_row {
    const char *name;
    unsigned bits;
    bool is_float, decoded;
} dtype_row;

static const dtype_row rows[QUANT_DTYPE_COUNT] = {
#define QUANT_DTYPE(id, name, bits, is_float, decoded) {name, bits, is_float, decoded},
#include "quant/bank/dtype.def"
#undef QUANT_DTYPE
};
static const dtype_row unknown = {"?", 0, false, false};

static const dtype_row *row_of(quant_dtype d)
{
    return (unsigned)d < (unsigned)QUANT_DTYPE_COUNT ? &rows[d] : &unknown;
}

const char *quant_dtype_name(quant_dtype d)
{
    return row_of(d)->name;
}

unsigned quant_dtype_bits(quant_dtype d)
{
    return row_of(d)->bits;
}

bool quant_dtype_is_float(quant_dtype d)
{
    return row_of(d)->is_float;
}

bool quant_dtype_is_decoded(quant_dtype d)
{
    return row_of(d)->decoded;
}

/* GGML_BLOCK stands for many types of GGUF and is no name of its own. */
bool quant_dtype_find(const char *name, quant_dtype *d)
{
    for (int i = 0; i < QUANT_GGML_BLOCK; i++) {
        if (strcmp(rows[i].name, name) == 0) {
            *d = (quant_dtype)i;
            return true;
        }
    }
    return false;
}
