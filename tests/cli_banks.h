/* SPDX-License-Identifier: GPL-3.0-or-later */
/* cli_banks.h - small banks on disk for tests of the command; paths are of this run. */
#ifndef QUANT_TESTS_CLI_BANKS_H
#define QUANT_TESTS_CLI_BANKS_H

/* Two finite matrices, one with a long name, and a kept bias. */
const char *cli_bank_good(void);
/* A finite matrix, and one with NaN at 17 and infinity at 40. */
const char *cli_bank_nan(void);
/* Nothing but an F8_E4M3 matrix. */
const char *cli_bank_unsupported(void);
/* No tensor at all. */
const char *cli_bank_empty(void);
/* Bytes of no format. */
const char *cli_bank_garbage(void);
/* A matrix whose scales overflow f16. */
const char *cli_bank_huge(void);

#endif
