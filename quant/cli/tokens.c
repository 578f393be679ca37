/* SPDX-License-Identifier: GPL-3.0-or-later */
/* tokens.c - token ids of --tokens, and parts of them as FIRST..LAST. */
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "quant/cli/cli.h"
#include "quant/internal.h"

/* [n, s], or [s] for one sequence. */
static quant_status take_tokens(quant_context *ctx, quant_bank *bank, size_t i, cli_tokens *out)
{
    const quant_tensor *t = quant_bank_tensor(bank, i);
    if (t->shape.rank < 1 || t->shape.rank > 2 || t->elements == 0 || t->elements > INT_MAX) {
        return quant_fail(ctx, QUANT_ESHAPE, "tensor \"%s\": expected integers [n, s], found %d "
                          "axes and %" PRIu64 " elements", t->name, t->shape.rank, t->elements);
    }
    out->count = (size_t)t->elements;
    out->id = quant_alloc(ctx, out->count, sizeof *out->id);
    out->all = (quant_tokens){out->id, t->shape.rank == 2 ? (size_t)t->shape.dim[0] : 1,
                              (size_t)t->shape.dim[t->shape.rank - 1]};
    return out->id ? quant_bank_read_i64(ctx, bank, i, 0, t->elements, out->id) : QUANT_ENOMEM;
}

quant_status cli_read_tokens(quant_context *ctx, const cli_args *args, cli_tokens *tokens)
{
    const char *path = args->text[OPT_TOKENS];
    quant_bank *bank = NULL;
    size_t i = 0;
    if (!path) {
        return quant_fail(ctx, QUANT_EINVAL, "--tokens: expected a file of token ids, found none");
    }
    QUANT_TRY(quant_bank_open(ctx, path, &bank));
    quant_status s = quant_bank_count(bank) == 1 ? QUANT_OK
                                                 : quant_bank_find(ctx, bank, "tokens", &i);
    if (s == QUANT_OK) {
        s = take_tokens(ctx, bank, i, tokens);
        s = s == QUANT_ESHAPE ? quant_fail_prefix(ctx, s, path) : s;
    }
    quant_bank_close(ctx, bank);
    return s;
}

void cli_free_tokens(quant_context *ctx, cli_tokens *tokens)
{
    quant_release(ctx, tokens->id, tokens->count, sizeof *tokens->id);
}

quant_status cli_parse_range(quant_context *ctx, const char *option, const char *text,
                             uint64_t *first, uint64_t *count)
{
    char *end = NULL;
    unsigned long long a = 0, b = 0;
    *first = *count = 0;
    if (!text) {
        return QUANT_OK;
    }
    bool good = text[0] >= '0' && text[0] <= '9';
    if (good) {
        a = b = strtoull(text, &end, 10);
        if (strncmp(end, "..", 2) == 0) {
            good = end[2] >= '0' && end[2] <= '9';
            b = good ? strtoull(end + 2, &end, 10) : 0;
        }
    }
    if (!good || *end || b < a || b > UINT32_MAX) {
        return quant_fail(ctx, QUANT_EINVAL, "--%s: expected FIRST..LAST, found '%s'", option,
                          text);
    }
    *first = a;
    *count = b - a + 1;
    return QUANT_OK;
}

quant_status cli_take_sequences(quant_context *ctx, const cli_args *args, cli_tokens *tokens)
{
    uint64_t first, count;
    quant_tokens *t = &tokens->all;
    QUANT_TRY(cli_parse_range(ctx, "sequences", args->text[OPT_SEQUENCES], &first, &count));
    if (count == 0) {
        return QUANT_OK;
    }
    if (first + count > t->n) {
        return quant_fail(ctx, QUANT_ERANGE, "%s: --sequences: expected some of 0..%zu, found '%s'",
                          args->text[OPT_TOKENS], t->n - 1, args->text[OPT_SEQUENCES]);
    }
    *t = (quant_tokens){t->id + first * t->s, (size_t)count, t->s};
    return QUANT_OK;
}
