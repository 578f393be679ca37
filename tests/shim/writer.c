/* SPDX-License-Identifier: GPL-3.0-or-later */
/* writer.c - what the fault tests run: write a small bank to PATH as the command would.
 *     writer PATH [FILL [pause]]
 * Byte i of each piece is FILL + i % 251. With pause it says "ready" halfway and waits. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "quant/bank/output.h"
#include "quant/bank/safetensors_write.h"

enum { PIECE = 8192, PIECES = 4 };

static quant_status write_bank(quant_context *ctx, const char *path, int fill, int pauses)
{
    static unsigned char data[PIECE];
    quant_safetensors_item items[] = {{"a", QUANT_F32, {2, {PIECES, PIECE / 4}}},
                                      {"b", QUANT_U8, {1, {PIECE}}}};
    quant_safetensors_writer *w = NULL;
    quant_status s = quant_safetensors_create(ctx, path, items, 2, NULL, 0, &w);
    for (size_t i = 0; i < sizeof data; i++) {
        data[i] = (unsigned char)((size_t)fill + i % 251);
    }
    for (int i = 0; s == QUANT_OK && i < PIECES; i++) {
        s = quant_safetensors_put(ctx, w, 0, (uint64_t)i * PIECE, data, PIECE);
        if (pauses && i == PIECES / 2) {
            puts("ready");
            fflush(stdout);
            sleep(60);
        }
    }
    s = s == QUANT_OK ? quant_safetensors_put(ctx, w, 1, 0, data, PIECE) : s;
    if (s == QUANT_OK) {
        return quant_safetensors_commit(ctx, w);
    }
    quant_safetensors_discard(ctx, w);
    return s;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        return 2;
    }
    quant_context *ctx = quant_context_new(NULL);
    quant_output_guard_signals();
    quant_status s = write_bank(ctx, argv[1], argc > 2 ? argv[2][0] : 'n', argc > 3);
    if (s != QUANT_OK) {
        fprintf(stderr, "%s\n", quant_context_message(ctx));
    }
    quant_context_free(ctx);
    return quant_status_exit(s);
}
