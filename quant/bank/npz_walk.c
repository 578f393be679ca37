/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "quant/bank/npz_walk.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "quant/bank/cursor.h"
#include "quant/bank/npz_bytes.h"

enum { CENTRAL = 46, ENCRYPTED = 1 | 1 << 6, STORED = 0, DEFLATED = 8 };
#define ONES UINT64_C(0xffffffff)

typedef struct walk {
    quant_context *ctx;
    quant_bank *bank;
    quant_cursor cursor;
    quant_zip *zip;
    unsigned char *room; /* [65536]: an extra field */
} walk;

/* Fields of all ones stand in the zip64 record, in this order, and nowhere else. */
static quant_status widen(walk *w, const unsigned char *extra, size_t bytes, quant_zip_entry *z)
{
    uint64_t *fields[3] = {&z->member.whole, &z->member.packed, &z->header};
    const unsigned char *at;
    size_t found, used = 0;
    QUANT_TRY(zip_extra(w->ctx, extra, bytes, &at, &found));
    for (int i = 0; i < 3; i++) {
        if (*fields[i] != ONES || found == 0) {
            continue;
        }
        if (found - used < 8) {
            return quant_fail(w->ctx, QUANT_ELAYOUT, "zip64 record: expected 8 more bytes for a "
                              "field of all ones, found %zu", found - used);
        }
        *fields[i] = zip_number(at + used, 8);
        used += 8;
    }
    return QUANT_OK;
}

static quant_status check_central(walk *w, const quant_zip_entry *z, const unsigned char *b)
{
    if (z->flags & ENCRYPTED) {
        return quant_fail(w->ctx, QUANT_EUNSUPPORTED, "encryption is not supported");
    }
    if (z->method != STORED && z->method != DEFLATED) {
        return quant_fail(w->ctx, QUANT_EUNSUPPORTED, "method: expected 0 (stored) or 8 "
                          "(deflated), found %u", z->method);
    }
    uint64_t disk = zip_number(b + 34, 2);
    return disk == 0 ? QUANT_OK : quant_fail(w->ctx, QUANT_ELAYOUT, "disk: expected 0, found %"
                                             PRIu64, disk);
}

/* [header, data end) lies before the directory. */
static quant_status check_span(walk *w, const quant_zip_entry *z)
{
    uint64_t end;
    bool fits = !__builtin_add_overflow(z->member.at, z->member.packed, &end) &&
                end <= w->zip->directory;
    return fits ? QUANT_OK
                : quant_fail(w->ctx, QUANT_ERANGE, "data: expected to end before the directory at "
                             "offset %" PRIu64 ", found %" PRIu64 " bytes from %" PRIu64,
                             w->zip->directory, z->member.packed, z->member.at);
}

static quant_status check_entry(walk *w, quant_zip_entry *z, const unsigned char *b, size_t extras)
{
    QUANT_TRY(check_central(w, z, b));
    QUANT_TRY(widen(w, w->room, extras, z));
    if (z->header >= w->zip->directory) {
        return quant_fail(w->ctx, QUANT_ERANGE, "local header: expected before the directory at "
                          "offset %" PRIu64 ", found %" PRIu64, w->zip->directory, z->header);
    }
    QUANT_TRY(zip_check_local(w->ctx, w->cursor.source, z));
    return check_span(w, z);
}

static quant_status read_entry(walk *w)
{
    unsigned char b[CENTRAL];
    quant_cursor *c = &w->cursor;
    QUANT_TRY(quant_cursor_take(c, b, CENTRAL, "directory entry"));
    if (memcmp(b, "PK\1\2", 4) != 0) {
        return quant_fail(w->ctx, QUANT_ELAYOUT, "directory, offset %" PRIu64 ": expected "
                          "PK\\x01\\x02, found another", c->at - CENTRAL);
    }
    quant_zip_entry z = {.flags = (unsigned)zip_number(b + 8, 2),
                         .method = (unsigned)zip_number(b + 10, 2),
                         .header = zip_number(b + 42, 4)};
    z.member = (quant_member){.deflated = z.method == DEFLATED,
                              .crc = (uint32_t)zip_number(b + 16, 4),
                              .packed = zip_number(b + 20, 4), .whole = zip_number(b + 24, 4)};
    z.name_bytes = (size_t)zip_number(b + 28, 2);
    size_t extras = (size_t)zip_number(b + 30, 2);
    QUANT_TRY(quant_cursor_need(c, z.name_bytes + extras, "directory entry"));
    char *name = quant_bank_room(w->ctx, w->bank, z.name_bytes);
    if (!name) {
        return QUANT_ENOMEM;
    }
    z.name = name;
    QUANT_TRY(quant_cursor_take(c, name, z.name_bytes, "name"));
    QUANT_TRY(quant_cursor_take(c, w->room, extras, "extra field"));
    QUANT_TRY(quant_cursor_skip(c, zip_number(b + 32, 2), "comment"));
    quant_status s = check_entry(w, &z, b, extras);
    if (s != QUANT_OK) {
        char member[160];
        snprintf(member, sizeof member, "member \"%.140s\"", name);
        return s == QUANT_ENOMEM ? s : quant_fail_prefix(w->ctx, s, member);
    }
    quant_zip *zip = w->zip;
    QUANT_TRY(quant_bank_grow(w->ctx, &zip->entries, &zip->room, zip->count + 1, sizeof z));
    zip->entries[zip->count++] = z;
    return QUANT_OK;
}

static int by_header(const void *a, const void *b)
{
    const quant_zip_entry *x = a, *y = b;
    return (x->header > y->header) - (x->header < y->header);
}

static quant_status check_overlap(walk *w)
{
    const quant_zip *zip = w->zip;
    for (size_t i = 1; i < zip->count; i++) {
        const quant_member *before = &zip->entries[i - 1].member;
        if (zip->entries[i].header < before->at + before->packed) {
            return quant_fail(w->ctx, QUANT_EOVERLAP, "member \"%.140s\": expected after offset %"
                              PRIu64 ", found at %" PRIu64, zip->entries[i].name,
                              before->at + before->packed, zip->entries[i].header);
        }
    }
    return QUANT_OK;
}

static quant_status walk_directory(walk *w)
{
    quant_zip *zip = w->zip;
    quant_cursor *c = &w->cursor;
    while (c->at < c->end && zip->count < zip->directory_count) {
        QUANT_TRY(read_entry(w));
    }
    if (zip->count != zip->directory_count || c->at != c->end) {
        return quant_fail(w->ctx, QUANT_ELAYOUT, "directory: expected %" PRIu64 " entries in %"
                          PRIu64 " bytes, found %zu in %" PRIu64, zip->directory_count,
                          zip->directory_bytes, zip->count, c->at - zip->directory);
    }
    quant_sort(zip->entries, zip->count, sizeof *zip->entries, by_header);
    return check_overlap(w);
}

quant_status quant_zip_read(quant_context *ctx, quant_bank *bank, size_t source, quant_zip *zip)
{
    enum { ROOM = 1 << 16 };
    const quant_source *file = &bank->sources[source];
    *zip = (quant_zip){.entries = NULL};
    QUANT_TRY(zip_find_directory(ctx, file, zip));
    walk w = {.ctx = ctx, .bank = bank, .zip = zip};
    w.cursor = (quant_cursor){.ctx = ctx, .source = file, .at = zip->directory,
                              .end = zip->directory + zip->directory_bytes};
    w.cursor.window = quant_alloc(ctx, QUANT_CURSOR_WINDOW, 1);
    w.room = quant_alloc(ctx, ROOM, 1);
    quant_status s = w.cursor.window && w.room ? walk_directory(&w) : QUANT_ENOMEM;
    quant_release(ctx, w.room, ROOM, 1);
    quant_release(ctx, w.cursor.window, QUANT_CURSOR_WINDOW, 1);
    return s;
}

void quant_zip_free(quant_context *ctx, quant_zip *zip)
{
    quant_release(ctx, zip->entries, zip->room, sizeof *zip->entries);
}
