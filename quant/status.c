/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/status.h"

typedef struct status_row {
    const char *word;
    const char *text;
    int exit_status;
} status_row;

static const status_row rows[QUANT_STATUS_COUNT] = {
#define QUANT_STATUS(code, word, exit_status, text) {word, text, exit_status},
#include "quant/status.def"
#undef QUANT_STATUS
};
static const status_row unknown = {"E_INTERNAL", "unknown status", 3};

static const status_row *row_of(quant_status s)
{
    return (unsigned)s < (unsigned)QUANT_STATUS_COUNT ? &rows[s] : &unknown;
}

const char *quant_status_word(quant_status s)
{
    return row_of(s)->word;
}

const char *quant_status_text(quant_status s)
{
    return row_of(s)->text;
}

int quant_status_exit(quant_status s)
{
    return row_of(s)->exit_status;
}
