/* SPDX-License-Identifier: GPL-3.0-or-later */
/* npz_end.c - where the directory of an archive is: the end record, and its 64-bit form. */
#include <inttypes.h>
#include <string.h>

#include "quant/bank/npz_bytes.h"

enum { END = 22, COMMENT_MAX = 65535, LOCATOR = 20, END64 = 56 };

/* Offset of the end record within tail[n]: the last one whose comment reaches the end of the file
 * exactly. */
static quant_status find_end(quant_context *ctx, const unsigned char *tail, size_t n, size_t *at)
{
    bool any = false;
    for (size_t i = n >= END ? n - END + 1 : 0; i-- > 0;) {
        if (memcmp(tail + i, "PK\5\6", 4) == 0) {
            any = true;
            if (END + (size_t)zip_number(tail + i + 20, 2) == n - i) {
                *at = i;
                return QUANT_OK;
            }
        }
    }
    return any ? quant_fail(ctx, QUANT_ELAYOUT, "end record: expected its comment to end the file, "
                            "found another length")
               : quant_fail(ctx, QUANT_ETRUNC, "end record: expected in the last %d bytes, found "
                            "none", END + COMMENT_MAX);
}

static quant_status check_disks(quant_context *ctx, uint64_t disk, uint64_t first, uint64_t here,
                                uint64_t all)
{
    if (disk != 0 || first != 0) {
        return quant_fail(ctx, QUANT_ELAYOUT, "end record: expected one disk, found parts %" PRIu64
                          " and %" PRIu64, disk, first);
    }
    return here == all ? QUANT_OK
                       : quant_fail(ctx, QUANT_ELAYOUT, "end record: expected equal counts, found %"
                                    PRIu64 " and %" PRIu64, here, all);
}

/* A field of the 32-bit record is all ones or says the same as the 64-bit one. */
static bool agrees(const unsigned char *old, int width, uint64_t wide)
{
    uint64_t v = zip_number(old, width), ones = (UINT64_C(1) << 8 * width) - 1;
    return v == ones || v == wide;
}

static quant_status read_end64(quant_context *ctx, const quant_source *file, uint64_t locator,
                               const unsigned char *end, quant_zip *zip, uint64_t *limit)
{
    unsigned char b[END64], l[LOCATOR];
    QUANT_TRY(quant_source_read(ctx, file, locator, l, LOCATOR));
    uint64_t at = zip_number(l + 8, 8);
    if (zip_number(l + 4, 4) != 0 || zip_number(l + 16, 4) != 1) {
        return quant_fail(ctx, QUANT_ELAYOUT, "zip64 locator: expected one disk, found more");
    }
    if (locator < END64 || at > locator - END64) {
        return quant_fail(ctx, QUANT_ERANGE, "zip64 end record: expected before offset %" PRIu64
                          ", found %" PRIu64, locator, at);
    }
    QUANT_TRY(quant_source_read(ctx, file, at, b, END64));
    if (memcmp(b, "PK\6\6", 4) != 0 || zip_number(b + 4, 8) != locator - at - 12) {
        return quant_fail(ctx, QUANT_ELAYOUT, "zip64 end record, offset %" PRIu64 ": expected one "
                          "that reaches its locator, found another", at);
    }
    QUANT_TRY(check_disks(ctx, zip_number(b + 16, 4), zip_number(b + 20, 4), zip_number(b + 24, 8),
                          zip_number(b + 32, 8)));
    zip->directory_count = zip_number(b + 32, 8);
    zip->directory_bytes = zip_number(b + 40, 8);
    zip->directory = zip_number(b + 48, 8);
    *limit = at;
    return agrees(end + 10, 2, zip->directory_count) && agrees(end + 12, 4, zip->directory_bytes) &&
                   agrees(end + 16, 4, zip->directory)
               ? QUANT_OK
               : quant_fail(ctx, QUANT_ELAYOUT, "end record: expected the values of the zip64 "
                            "record, found others");
}

static quant_status read_end(quant_context *ctx, const quant_source *file, uint64_t at,
                             const unsigned char *end, quant_zip *zip)
{
    uint64_t limit = at, top;
    unsigned char l[4] = {0};
    QUANT_TRY(check_disks(ctx, zip_number(end + 4, 2), zip_number(end + 6, 2),
                          zip_number(end + 8, 2), zip_number(end + 10, 2)));
    zip->directory_count = zip_number(end + 10, 2);
    zip->directory_bytes = zip_number(end + 12, 4);
    zip->directory = zip_number(end + 16, 4);
    if (at >= LOCATOR) {
        QUANT_TRY(quant_source_read(ctx, file, at - LOCATOR, l, sizeof l));
    }
    if (memcmp(l, "PK\6\7", 4) == 0) {
        QUANT_TRY(read_end64(ctx, file, at - LOCATOR, end, zip, &limit));
    }
    if (__builtin_add_overflow(zip->directory, zip->directory_bytes, &top) || top > limit) {
        return quant_fail(ctx, QUANT_ERANGE, "directory: expected to end at offset %" PRIu64
                          ", found %" PRIu64 " bytes at %" PRIu64, limit, zip->directory_bytes,
                          zip->directory);
    }
    return top == limit ? QUANT_OK
                        : quant_fail(ctx, QUANT_ELAYOUT, "directory: expected to end at offset %"
                                     PRIu64 ", found %" PRIu64, limit, top);
}

quant_status zip_find_directory(quant_context *ctx, const quant_source *file, quant_zip *zip)
{
    size_t most = END + COMMENT_MAX, n = file->size < most ? (size_t)file->size : most, at = 0;
    unsigned char *tail = quant_alloc(ctx, n, 1);
    if (!tail) {
        return QUANT_ENOMEM;
    }
    quant_status s = quant_source_read(ctx, file, file->size - n, tail, n);
    if (s == QUANT_OK) {
        s = find_end(ctx, tail, n, &at);
    }
    if (s == QUANT_OK) {
        s = read_end(ctx, file, file->size - n + at, tail + at, zip);
    }
    quant_release(ctx, tail, n, 1);
    return s;
}
