/* SPDX-License-Identifier: GPL-3.0-or-later */
/* run.h - run the command as a user would and look at what came out. */
#ifndef QUANT_TESTS_RUN_H
#define QUANT_TESTS_RUN_H

#include <stddef.h>

typedef struct run_result {
    int status;      /* exit status; 128 + n after signal n */
    char *out, *err; /* NUL-terminated; freed by run_free */
    size_t out_bytes, err_bytes;
} run_result;

/* Run the shell line with $QUANT set to the built command. */
run_result run_shell(const char *format, ...) __attribute__((format(printf, 1, 2)));
void run_free(run_result *r);

#endif
