/* SPDX-License-Identifier: GPL-3.0-or-later */
/* archive.h - zip archives made in memory, with every field at hand. */
#ifndef QUANT_TESTS_ARCHIVE_H
#define QUANT_TESTS_ARCHIVE_H

#include <stdbool.h>

#include "tests/bytes.h"

enum { ARCHIVE_MEMBERS = 4 };

/* One member: what it holds, and what the headers are to say. */
typedef struct archive_member {
    const char *name;
    size_t name_bytes;      /* 0: of the string */
    const char *literal;    /* of the npy header; NULL: raw holds everything */
    const char *raw;
    size_t data;            /* bytes behind the literal: 0, 1, 2, ... */
    bool deflated;
    bool streamed;          /* bit 3: local sizes zero, a descriptor behind the data */
    bool wide;              /* sizes in zip64 records */
    long more_whole;        /* added to the declared size */
    size_t junk;            /* bytes behind the stream that count as compressed */
    long cut;               /* bytes of the stream left out */
    int shares;             /* k > 0: the directory entry points to member k-1's local header */
} archive_member;

typedef struct archive {
    bytes b;
    size_t local[ARCHIVE_MEMBERS], data[ARCHIVE_MEMBERS], central[ARCHIVE_MEMBERS];
    size_t end64, locator, end;
} archive;

/* zip64 adds the 64-bit end record. */
archive archive_make(const archive_member *members, size_t count, bool zip64);
void archive_patch(archive *a, size_t at, int width, uint64_t value);

#endif
