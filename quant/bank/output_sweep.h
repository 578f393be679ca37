/* SPDX-License-Identifier: GPL-3.0-or-later */
/* output_sweep.h - names of temporary files and what to do with those that were left behind. For
 * output.c only. */
#ifndef QUANT_BANK_OUTPUT_SWEEP_H
#define QUANT_BANK_OUTPUT_SWEEP_H

#include <limits.h>
#include <stdint.h>

/* ".NAME.PID.RANDOM.tmp" of this process; NAME is cut at 200 bytes. */
void quant_output_temp_name(char temp[NAME_MAX + 1], const char *name, uint64_t word);

/* Remove the temporary files of `name` in this folder whose makers are gone. A courtesy to the
 * user: nothing here can make a run fail. */
void quant_output_sweep(int folder, const char *name);

#endif
