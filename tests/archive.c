/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tests/archive.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

typedef struct content {
    bytes plain, stored; /* the npy file, and as the archive holds it */
    uint32_t crc;
    uint64_t whole, packed;
    size_t name_bytes;
} content;

static void deflate_into(const bytes *from, bytes *to)
{
    z_stream z = {.next_in = from->at, .avail_in = (unsigned)from->count};
    size_t room = from->count + 1024;
    unsigned char *out = malloc(room);
    deflateInit2(&z, 9, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
    z.next_out = out;
    z.avail_out = (unsigned)room;
    deflate(&z, Z_FINISH);
    bytes_add(to, out, room - z.avail_out);
    deflateEnd(&z);
    free(out);
}

static content content_of(const archive_member *m)
{
    content c = {.name_bytes = m->name_bytes ? m->name_bytes : strlen(m->name)};
    if (m->literal) {
        bytes_npy(&c.plain, 1, 0, m->literal, strlen(m->literal), m->data);
    } else {
        bytes_add(&c.plain, m->raw, strlen(m->raw));
    }
    if (m->deflated) {
        deflate_into(&c.plain, &c.stored);
    } else {
        bytes_add(&c.stored, c.plain.at, c.plain.count);
    }
    c.stored.count -= (size_t)m->cut;
    bytes_zero(&c.stored, m->junk);
    c.crc = (uint32_t)crc32_z(0, c.plain.at, c.plain.count);
    c.whole = c.plain.count + (uint64_t)m->more_whole;
    c.packed = c.stored.count;
    return c;
}

static void put_sizes(bytes *b, const content *c, bool wide, bool zero)
{
    bytes_number(b, zero ? 0 : c->crc, 4);
    bytes_number(b, zero ? 0 : wide ? 0xffffffff : c->packed, 4);
    bytes_number(b, zero ? 0 : wide ? 0xffffffff : c->whole, 4);
}

static void put_wide(bytes *b, const content *c)
{
    bytes_assemble(b, "w:1 w:16");
    bytes_number(b, c->whole, 8);
    bytes_number(b, c->packed, 8);
}

static void put_local(archive *a, const archive_member *m, const content *c)
{
    bytes *b = &a->b;
    bytes_assemble(b, "d:0x04034b50 w:45");
    bytes_number(b, m->streamed ? 8 : 0, 2);
    bytes_number(b, m->deflated ? 8 : 0, 2);
    bytes_assemble(b, "d:0x00210000");
    put_sizes(b, c, m->wide, m->streamed);
    bytes_number(b, c->name_bytes, 2);
    bytes_number(b, m->wide ? 20 : 0, 2);
    bytes_add(b, m->name, c->name_bytes);
    if (m->wide) {
        put_wide(b, c);
    }
}

static void put_central(archive *a, const archive_member *m, const content *c, size_t header)
{
    bytes *b = &a->b;
    bytes_assemble(b, "d:0x02014b50 w:45 w:45");
    bytes_number(b, m->streamed ? 8 : 0, 2);
    bytes_number(b, m->deflated ? 8 : 0, 2);
    bytes_assemble(b, "d:0x00210000");
    put_sizes(b, c, m->wide, false);
    bytes_number(b, c->name_bytes, 2);
    bytes_number(b, m->wide ? 20 : 0, 2);
    bytes_assemble(b, "w:0 w:0 w:0 d:0");
    bytes_number(b, header, 4);
    bytes_add(b, m->name, c->name_bytes);
    if (m->wide) {
        put_wide(b, c);
    }
}

static void put_end(archive *a, size_t count, bool zip64, size_t directory)
{
    bytes *b = &a->b;
    size_t size = b->count - directory;
    a->end64 = b->count;
    if (zip64) {
        bytes_assemble(b, "d:0x06064b50 q:44 w:45 w:45 d:0 d:0");
        bytes_number(b, count, 8);
        bytes_number(b, count, 8);
        bytes_number(b, size, 8);
        bytes_number(b, directory, 8);
        a->locator = b->count;
        bytes_assemble(b, "d:0x07064b50 d:0");
        bytes_number(b, a->end64, 8);
        bytes_assemble(b, "d:1");
    }
    a->end = b->count;
    bytes_assemble(b, "d:0x06054b50 w:0 w:0");
    bytes_number(b, zip64 ? 0xffff : count, 2);
    bytes_number(b, zip64 ? 0xffff : count, 2);
    bytes_number(b, zip64 ? 0xffffffff : size, 4);
    bytes_number(b, zip64 ? 0xffffffff : directory, 4);
    bytes_assemble(b, "w:0");
}

archive archive_make(const archive_member *members, size_t count, bool zip64)
{
    archive a = {.end = 0};
    content c[ARCHIVE_MEMBERS];
    for (size_t i = 0; i < count; i++) {
        const archive_member *m = &members[i];
        c[i] = content_of(m);
        a.local[i] = a.b.count;
        if (m->shares) {
            continue;
        }
        put_local(&a, m, &c[i]);
        a.data[i] = a.b.count;
        bytes_add(&a.b, c[i].stored.at, c[i].stored.count);
        if (m->streamed) {
            bytes_assemble(&a.b, "d:0x08074b50");
            bytes_number(&a.b, c[i].crc, 4);
            bytes_number(&a.b, c[i].packed, 4);
            bytes_number(&a.b, c[i].whole, 4);
        }
    }
    size_t directory = a.b.count;
    for (size_t i = 0; i < count; i++) {
        int k = members[i].shares;
        a.central[i] = a.b.count;
        put_central(&a, &members[i], &c[i], a.local[k ? (size_t)k - 1 : i]);
        bytes_free(&c[i].plain);
        bytes_free(&c[i].stored);
    }
    put_end(&a, count, zip64, directory);
    return a;
}

void archive_patch(archive *a, size_t at, int width, uint64_t value)
{
    for (int i = 0; i < width; i++) {
        a->b.at[at + (size_t)i] = (unsigned char)(value >> 8 * i);
    }
}
