/* SPDX-License-Identifier: GPL-3.0-or-later */
/* verb_decode.c - a plain bank from a packed one. */
#include "quant/bank/output.h"
#include "quant/bank/packed.h"
#include "quant/cli/cli.h"
#include "quant/internal.h"
#include "quant/report/progress.h"

static quant_status write_plain(quant_context *ctx, const cli_args *args, quant_packed *packed)
{
    static const quant_dtype types[] = {[CLI_F32] = QUANT_F32, [CLI_F16] = QUANT_F16,
                                        [CLI_BF16] = QUANT_BF16};
    quant_progress progress;
    quant_progress_begin(&progress, stderr, args->text[OPT_QUIET] != NULL);
    quant_status s = quant_unpack_write(ctx, packed, args->text[OPT_OUTPUT],
                                        types[args->number[OPT_DTYPE]], quant_progress_step,
                                        &progress);
    quant_progress_end(&progress);
    return s;
}

static quant_status decode(quant_context *ctx, const cli_args *args, quant_bank *bank)
{
    quant_packed *packed = NULL;
    quant_status s = quant_packed_open(ctx, bank, &packed);
    if (s == QUANT_OK) {
        s = write_plain(ctx, args, packed);
    }
    if (s == QUANT_OK && !args->text[OPT_QUIET]) {
        size_t count = quant_packed_count(packed);
        char shown[CLI_SHOWN];
        printf("%s: %zu tensor%s written\n", cli_shown(args->text[OPT_OUTPUT], shown), count,
               count == 1 ? "" : "s");
    }
    quant_packed_close(ctx, packed);
    bool own = s == QUANT_EIO; /* names its file already */
    return s == QUANT_OK || own ? s : quant_fail_prefix(ctx, s, args->operand[0]);
}

int cli_decode(quant_context *ctx, const cli_args *args)
{
    quant_bank *bank = NULL;
    quant_output_guard_signals();
    quant_status s = cli_may_write(ctx, args);
    if (s == QUANT_OK) {
        s = quant_bank_open(ctx, args->operand[0], &bank);
    }
    if (s == QUANT_OK) {
        s = decode(ctx, args, bank);
    }
    quant_bank_close(ctx, bank);
    return s == QUANT_OK ? 0 : cli_fail(ctx, s);
}
