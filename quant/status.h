/* SPDX-License-Identifier: Apache-2.0 */
/* status.h - what every public function returns.
 *
 * Each status is a row of quant/status.def: its constant, the word that messages and tests use,
 * the exit status of the command, and a short description. A function that fails leaves its
 * outputs untouched unless it says otherwise, and writes one line into its context
 * (quant_context_message) that names what, where, what was expected and what was found. */
#ifndef QUANT_STATUS_H
#define QUANT_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

typedef enum quant_status {
#define QUANT_STATUS(code, word, exit_status, text) code,
#include "quant/status.def"
#undef QUANT_STATUS
    QUANT_STATUS_COUNT
} quant_status;

/* Word ("E_TRUNC"), description ("shorter than promised") and exit status of the command for a
 * status; an unknown value reads "E_INTERNAL". Constant strings, thread-safe. */
const char *quant_status_word(quant_status s);
const char *quant_status_text(quant_status s);
int quant_status_exit(quant_status s);

#ifdef __cplusplus
}
#endif
#endif
