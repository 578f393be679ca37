/* SPDX-License-Identifier: GPL-3.0-or-later */
/* fuzz_bank.c - libFuzzer target: any bytes are a file; it must end in a status.
 *     clang -fsanitize=fuzzer,address,undefined -I. -D_GNU_SOURCE -fopenmp ... fuzz_bank.c
 * with the sources of quant/bank, quant and kernels. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "quant/bank/bank.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_all(quant_context *ctx, quant_bank *bank, size_t file)
{
    enum { SOME = 256 };
    double values[SOME];
    unsigned char raw[SOME];
    for (size_t i = 0; i < quant_bank_count(bank); i++) {
        const quant_tensor *t = quant_bank_tensor(bank, i);
        uint64_t n = t->elements < SOME ? t->elements : SOME, m = t->bytes < SOME ? t->bytes : SOME;
        size_t found = 0;
        if (t->bytes > file || quant_bank_find(ctx, bank, t->name, &found) != QUANT_OK ||
            found != i || quant_bank_read_raw(ctx, bank, i, t->bytes - m, m, raw) != QUANT_OK) {
            abort();
        }
        if (quant_dtype_is_decoded(t->dtype) &&
            quant_bank_read_f64(ctx, bank, i, t->elements - n, n, values) != QUANT_OK) {
            abort();
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1;
    static char path[64];
    if (fd < 0) {
        fd = memfd_create("fuzz", MFD_CLOEXEC);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    quant_context *ctx = quant_context_new(NULL);
    quant_bank *bank;
    if (ftruncate(fd, 0) != 0 || pwrite(fd, data, size, 0) != (ssize_t)size || !ctx) {
        abort();
    }
    if (quant_bank_open(ctx, path, &bank) == QUANT_OK) {
        read_all(ctx, bank, size);
    } else if (quant_context_message(ctx)[0] == '\0') {
        abort();
    }
    quant_bank_close(ctx, bank);
    quant_context_free(ctx);
    return 0;
}
