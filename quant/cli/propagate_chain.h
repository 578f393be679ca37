/* SPDX-License-Identifier: GPL-3.0-or-later */
/* propagate_chain.h - propagate for banks of no known architecture. */
#ifndef QUANT_CLI_PROPAGATE_CHAIN_H
#define QUANT_CLI_PROPAGATE_CHAIN_H

#include "quant/cli/cli.h"

/* No --tokens, and the operand is no model: nothing describes it, or an architecture that is not
 * known. (A model whose description is damaged is that, and no bank.) */
bool cli_wants_chain(quant_context *ctx, const cli_args *args);
/* The chain analysis; returns the exit status. */
int cli_propagate_chain(quant_context *ctx, const cli_args *args);

#endif
