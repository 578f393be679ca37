/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <inttypes.h>
#include <string.h>

#include "quant/bank/npz_bytes.h"

enum { LOCAL = 30, ZIP64 = 1, STREAMED = 8 };
#define ONES UINT64_C(0xffffffff)

quant_status zip_extra(quant_context *ctx, const unsigned char *extra, size_t bytes,
                       const unsigned char **at, size_t *found)
{
    bool seen = false;
    *found = 0;
    *at = extra;
    for (size_t i = 0; i < bytes;) {
        size_t left = bytes - i, n = left >= 4 ? (size_t)zip_number(extra + i + 2, 2) : 0;
        if (left < 4 || n > left - 4) {
            return quant_fail(ctx, QUANT_ELAYOUT, "extra field: expected records that fill %zu "
                              "bytes, found others", bytes);
        }
        if (zip_number(extra + i, 2) == ZIP64) {
            if (seen) {
                return quant_fail(ctx, QUANT_ELAYOUT, "extra field: expected one zip64 record, "
                                  "found two");
            }
            seen = true;
            *at = extra + i + 4;
            *found = n;
        }
        i += 4 + n;
    }
    return QUANT_OK;
}

static quant_status differ(quant_context *ctx, const quant_zip_entry *z, const char *what)
{
    return quant_fail(ctx, QUANT_ELAYOUT, "local header, offset %" PRIu64 ": expected the %s of "
                      "the directory, found another", z->header, what);
}

/* Sizes of a local header: all ones mean the zip64 record, which may repeat sizes that fit as well;
 * streamed members (bit 3) may leave zeros. */
static quant_status check_sizes(quant_context *ctx, const quant_zip_entry *z,
                                const unsigned char *b, const unsigned char *wide, size_t n)
{
    uint64_t packed = zip_number(b + 18, 4), whole = zip_number(b + 22, 4);
    uint64_t crc = zip_number(b + 14, 4);
    bool streamed = z->flags & STREAMED;
    if (n > 0 && n < 16) {
        return quant_fail(ctx, QUANT_ELAYOUT, "local header, offset %" PRIu64 ": expected both "
                          "sizes in its zip64 record, found %zu bytes", z->header, n);
    }
    whole = whole == ONES && n ? zip_number(wide, 8) : whole;
    packed = packed == ONES && n ? zip_number(wide + 8, 8) : packed;
    bool same = whole == z->member.whole && packed == z->member.packed;
    bool repeats = n == 0 || (zip_number(wide, 8) == z->member.whole &&
                              zip_number(wide + 8, 8) == z->member.packed);
    bool empty = streamed && whole == 0 && packed == 0;
    bool wide_empty = streamed && n && zip_number(wide, 8) == 0 && zip_number(wide + 8, 8) == 0;
    if (!(same || empty) || !(repeats || wide_empty)) {
        return differ(ctx, z, "sizes");
    }
    return crc == z->member.crc || (streamed && crc == 0) ? QUANT_OK : differ(ctx, z, "CRC-32");
}

static quant_status check_rest(quant_context *ctx, const quant_source *file, quant_zip_entry *z,
                               const unsigned char *b, unsigned char *rest)
{
    size_t names = (size_t)zip_number(b + 26, 2), extras = (size_t)zip_number(b + 28, 2), found;
    const unsigned char *wide;
    QUANT_TRY(quant_source_read(ctx, file, z->header + LOCAL, rest, names + extras));
    if (names != z->name_bytes || memcmp(rest, z->name, names) != 0) {
        return differ(ctx, z, "name");
    }
    QUANT_TRY(zip_extra(ctx, rest + names, extras, &wide, &found));
    QUANT_TRY(check_sizes(ctx, z, b, wide, found));
    z->member.at = z->header + LOCAL + names + extras;
    return QUANT_OK;
}

quant_status zip_check_local(quant_context *ctx, const quant_source *file, quant_zip_entry *z)
{
    unsigned char b[LOCAL];
    QUANT_TRY(quant_source_read(ctx, file, z->header, b, LOCAL));
    if (memcmp(b, "PK\3\4", 4) != 0) {
        return quant_fail(ctx, QUANT_ELAYOUT, "local header, offset %" PRIu64 ": expected PK\\x03"
                          "\\x04, found another", z->header);
    }
    if (zip_number(b + 6, 2) != z->flags) {
        return differ(ctx, z, "flags");
    }
    if (zip_number(b + 8, 2) != z->method) {
        return differ(ctx, z, "method");
    }
    size_t bytes = (size_t)(zip_number(b + 26, 2) + zip_number(b + 28, 2));
    unsigned char *rest = quant_alloc(ctx, bytes, 1);
    if (!rest) {
        return QUANT_ENOMEM;
    }
    quant_status s = check_rest(ctx, file, z, b, rest);
    quant_release(ctx, rest, bytes, 1);
    return s;
}
