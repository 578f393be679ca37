/* SPDX-License-Identifier: GPL-3.0-or-later */
/* utf8.h - strict UTF-8: no overlong forms, no surrogates, nothing above U+10FFFF. */
#ifndef QUANT_BANK_UTF8_H
#define QUANT_BANK_UTF8_H

#include <stddef.h>

/* Length of the valid beginning of text[bytes]; bytes when all of it is valid. */
size_t quant_utf8_valid(const char *text, size_t bytes);
/* Write a code point that is not a surrogate and <= 0x10ffff; 1..4 bytes. */
size_t quant_utf8_put(char *out, unsigned point);

#endif
