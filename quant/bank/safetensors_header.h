/* SPDX-License-Identifier: GPL-3.0-or-later */
/* safetensors_header.h - from header text to entries of the bank; not installed. */
#ifndef QUANT_BANK_SAFETENSORS_HEADER_H
#define QUANT_BANK_SAFETENSORS_HEADER_H

#include "quant/bank/json_scan.h"
#include "quant/bank/reader.h"

typedef struct quant_safetensors_header {
    quant_context *ctx;
    quant_bank *bank;
    size_t source, start; /* index of the file and of its first entry */
    quant_json_scan scan;
    char *text;           /* [bytes] */
    size_t bytes;
    bool metadata_seen;
    size_t pair_start;
} quant_safetensors_header;

/* Append an entry for each record of h->text; offsets are still relative to the data. */
quant_status quant_safetensors_parse(quant_safetensors_header *h);
/* "tensor NAME: " before the message of the failure s; returns s. */
quant_status quant_safetensors_blame(quant_context *ctx, quant_status s, const char *name);

#endif
