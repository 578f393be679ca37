/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_npz.c - archives that lie are refused, others give their values. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/archive.h"
#include "tests/short_memory.h"
#include "tests/test.h"

#define FOUR "{'descr': '<f4', 'fortran_order': False, 'shape': (4,), }"
#define COLUMNS "{'descr': '<i2', 'fortran_order': True, 'shape': (3, 2), }"
#define ZEROS "{'descr': '|u1', 'fortran_order': False, 'shape': (200,), }"

static const archive_member two[] = {
    {.name = "a.npy", .literal = FOUR, .data = 16},
    {.name = "folder/b.npy", .literal = COLUMNS, .data = 12, .deflated = true}};

static quant_status opens(archive *a, size_t *count)
{
    quant_bank *bank = NULL;
    quant_context *ctx = quant_context_new(NULL);
    quant_status s = quant_bank_open(ctx, bytes_save(&a->b, "case.npz"), &bank);
    if (s != QUANT_OK) {
        CU_ASSERT_PTR_NULL(bank);
        CU_ASSERT_PTR_NOT_NULL(strstr(quant_context_message(ctx), "case.npz: "));
    } else if (count) {
        *count = quant_bank_count(bank);
    }
    quant_bank_close(ctx, bank);
    quant_context_free(ctx);
    return s;
}

static void expect(const char *name, quant_status want, archive *a)
{
    quant_status found = opens(a, NULL);
    if (found != want) {
        printf("\n    %s: expected %s, found %s ", name, quant_status_word(want),
               quant_status_word(found));
    }
    CU_ASSERT_EQUAL(found, want);
    bytes_free(&a->b);
}

/* ---- one field of a good archive is overwritten --------------------------------------------- */

typedef enum where { AT_END, AT_CENTRAL, AT_LOCAL, AT_DATA, AT_END64, AT_LOCATOR } where;

typedef struct patch {
    const char *name;
    quant_status expected;
    where base;
    int member; /* of both headers: AT_CENTRAL with also_local */
    size_t offset;
    int width;
    uint64_t value;
    size_t also_local; /* offset of the same field in the local header, 0: only one is patched */
} patch;

static const patch patches[] = {
    {"comment that is not there", QUANT_ELAYOUT, AT_END, 0, 20, 2, 5, 0},
    {"another disk", QUANT_ELAYOUT, AT_END, 0, 4, 2, 1, 0},
    {"directory on another disk", QUANT_ELAYOUT, AT_END, 0, 6, 2, 1, 0},
    {"counts that differ", QUANT_ELAYOUT, AT_END, 0, 8, 2, 1, 0},
    {"one entry, two there", QUANT_ELAYOUT, AT_END, 0, 8, 4, 0x00010001, 0},
    {"three entries, two there", QUANT_ELAYOUT, AT_END, 0, 8, 4, 0x00030003, 0},
    {"directory longer than the file", QUANT_ERANGE, AT_END, 0, 12, 4, 1 << 30, 0},
    {"directory shorter than it is", QUANT_ELAYOUT, AT_END, 0, 12, 4, 20, 0},
    {"directory behind the end", QUANT_ERANGE, AT_END, 0, 16, 4, 0x7fffffff, 0},
    {"directory at 0", QUANT_ELAYOUT, AT_END, 0, 16, 4, 0, 0},
    {"directory entry without its mark", QUANT_ELAYOUT, AT_CENTRAL, 1, 0, 4, 0, 0},
    {"encrypted", QUANT_EUNSUPPORTED, AT_CENTRAL, 0, 8, 2, 1, 6},
    {"strongly encrypted", QUANT_EUNSUPPORTED, AT_CENTRAL, 0, 8, 2, 64, 6},
    {"method bzip2", QUANT_EUNSUPPORTED, AT_CENTRAL, 0, 10, 2, 12, 8},
    {"member on another disk", QUANT_ELAYOUT, AT_CENTRAL, 0, 34, 2, 1, 0},
    {"name longer than the directory", QUANT_ETRUNC, AT_CENTRAL, 1, 28, 2, 60000, 0},
    {"extra field of two bytes", QUANT_ELAYOUT, AT_CENTRAL, 0, 28, 4, 0x00020003, 0},
    {"header behind the directory", QUANT_ERANGE, AT_CENTRAL, 0, 42, 4, 1 << 20, 0},
    {"header of the other member", QUANT_ELAYOUT, AT_CENTRAL, 1, 42, 4, 0, 0},
    {"CRC-32 differs", QUANT_ECHECKSUM, AT_CENTRAL, 0, 16, 4, 1, 14},
    {"CRC-32 of the deflated one differs", QUANT_ECHECKSUM, AT_CENTRAL, 1, 16, 4, 1, 14},
    {"stored, larger than it is", QUANT_ESIZE, AT_CENTRAL, 0, 24, 4, 1000, 22},
    {"stored, smaller than it is", QUANT_ESIZE, AT_CENTRAL, 0, 24, 4, 100, 22},
    {"deflate cannot do that", QUANT_ESIZE, AT_CENTRAL, 1, 24, 4, 0x7fffffff, 22},
    {"data over the directory", QUANT_ERANGE, AT_CENTRAL, 1, 20, 4, 1 << 20, 18},
    {"local header without its mark", QUANT_ELAYOUT, AT_LOCAL, 1, 0, 4, 0, 0},
    {"local flags differ", QUANT_ELAYOUT, AT_LOCAL, 0, 6, 2, 2, 0},
    {"local method differs", QUANT_ELAYOUT, AT_LOCAL, 0, 8, 2, 8, 0},
    {"local CRC differs", QUANT_ELAYOUT, AT_LOCAL, 0, 14, 4, 0, 0},
    {"local packed size differs", QUANT_ELAYOUT, AT_LOCAL, 0, 18, 4, 0, 0},
    {"local size differs", QUANT_ELAYOUT, AT_LOCAL, 0, 22, 4, 0, 0},
    {"local size all ones", QUANT_ELAYOUT, AT_LOCAL, 0, 22, 4, 0xffffffff, 0},
    {"local name differs", QUANT_ELAYOUT, AT_LOCAL, 0, 30, 1, 'z', 0},
    {"local name shorter", QUANT_ELAYOUT, AT_LOCAL, 0, 26, 2, 4, 0},
    {"no array in it", QUANT_EMAGIC, AT_DATA, 0, 0, 4, 0, 0},
    {"array of version 9", QUANT_EVERSION, AT_DATA, 0, 6, 1, 9, 0},
    {"array header cut", QUANT_ETRUNC, AT_DATA, 0, 8, 2, 60000, 0},
    {"array value changed", QUANT_ECHECKSUM, AT_DATA, 0, 130, 1, 99, 0},
    {"deflate block of type 3", QUANT_EDEFLATE, AT_DATA, 1, 0, 1, 7, 0},
};

static const patch wide_patches[] = {
    {"zip64 counts differ", QUANT_ELAYOUT, AT_END64, 0, 24, 8, 1, 0},
    {"zip64 disk", QUANT_ELAYOUT, AT_END64, 0, 16, 4, 1, 0},
    {"zip64 mark", QUANT_ELAYOUT, AT_END64, 0, 0, 4, 1, 0},
    {"zip64 record longer", QUANT_ELAYOUT, AT_END64, 0, 4, 8, 45, 0},
    {"zip64 directory size wraps", QUANT_ERANGE, AT_END64, 0, 40, 8, UINT64_MAX, 0},
    {"zip64 directory elsewhere", QUANT_ERANGE, AT_END64, 0, 48, 8, UINT64_C(1) << 63, 0},
    {"locator to nowhere", QUANT_ERANGE, AT_LOCATOR, 0, 8, 8, UINT64_MAX, 0},
    {"locator to the start", QUANT_ELAYOUT, AT_LOCATOR, 0, 8, 8, 0, 0},
    {"locator of two disks", QUANT_ELAYOUT, AT_LOCATOR, 0, 16, 4, 2, 0},
    {"old count differs from the wide one", QUANT_ELAYOUT, AT_END, 0, 8, 4, 0x00030003, 0},
    {"old size differs from the wide one", QUANT_ELAYOUT, AT_END, 0, 12, 4, 7, 0},
};

static size_t place_of(const archive *a, const patch *p)
{
    const size_t bases[] = {a->end, a->central[p->member], a->local[p->member],
                            a->data[p->member], a->end64, a->locator};
    return bases[p->base] + p->offset;
}

static void run_patches(const patch *p, size_t count, bool zip64)
{
    for (size_t i = 0; i < count; i++, p++) {
        archive a = archive_make(two, 2, zip64);
        archive_patch(&a, place_of(&a, p), p->width, p->value);
        if (p->also_local) {
            archive_patch(&a, a.local[p->member] + p->also_local, p->width, p->value);
        }
        expect(p->name, p->expected, &a);
    }
}

static void fields_that_lie(void)
{
    run_patches(patches, sizeof patches / sizeof *patches, false);
    run_patches(wide_patches, sizeof wide_patches / sizeof *wide_patches, true);
}

/* ---- archives built wrong ------------------------------------------------------------------- */

static const struct built {
    const char *name;
    quant_status expected;
    size_t count;
    archive_member m[2];
    bool zip64;
} builds[] = {
    {"nothing in it", QUANT_OK, 0, {{0}}, false},
    {"64-bit records", QUANT_OK, 2, {{.name = "a.npy", .literal = FOUR, .data = 16, .wide = true},
     {.name = "b.npy", .literal = ZEROS, .data = 200, .deflated = true, .wide = true}}, true},
    {"streamed", QUANT_OK, 2, {{.name = "a.npy", .literal = FOUR, .data = 16, .streamed = true},
     {.name = "b.npy", .literal = ZEROS, .data = 200, .deflated = true, .streamed = true}}, false},
    {"a name twice", QUANT_EDUP, 2, {{.name = "a.npy", .literal = FOUR, .data = 16},
     {.name = "a.npy", .literal = FOUR, .data = 16}}, false},
    {"two entries, one span", QUANT_EOVERLAP, 2, {{.name = "a.npy", .literal = FOUR, .data = 16},
     {.name = "a.npy", .literal = FOUR, .data = 16, .shares = 1}}, false},
    {"bytes after the stream", QUANT_ETRAILING, 1,
     {{.name = "a.npy", .literal = ZEROS, .data = 200, .deflated = true, .junk = 3}}, false},
    {"stream cut", QUANT_EDEFLATE, 1,
     {{.name = "a.npy", .literal = ZEROS, .data = 200, .deflated = true, .cut = 4}}, false},
    {"stream longer than declared", QUANT_ETRUNC, 1,
     {{.name = "a.npy", .literal = ZEROS, .data = 200, .deflated = true, .more_whole = -1}}, false},
    {"stream shorter than declared", QUANT_ETRAILING, 1,
     {{.name = "a.npy", .literal = ZEROS, .data = 200, .deflated = true, .more_whole = 1}}, false},
    {"array longer than the stream", QUANT_ESIZE, 1,
     {{.name = "a.npy", .literal = ZEROS, .data = 199, .deflated = true, .more_whole = 1}}, false},
    {"array shorter than the stream", QUANT_ESIZE, 1,
     {{.name = "a.npy", .literal = ZEROS, .data = 201, .deflated = true, .more_whole = -1}}, false},
    {"array with bytes behind it", QUANT_ETRAILING, 1,
     {{.name = "a.npy", .literal = FOUR, .data = 17}}, false},
    {"array cut", QUANT_ETRUNC, 1, {{.name = "a.npy", .literal = FOUR, .data = 15}}, false},
    {"array of objects", QUANT_EUNSUPPORTED, 1, {{.name = "a.npy", .data = 8, .literal =
     "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"}}, false},
    {"no array", QUANT_EUNSUPPORTED, 1, {{.name = "a.txt", .raw = "text"}}, false},
    {"member of no bytes", QUANT_ETRUNC, 1, {{.name = "a.npy", .raw = ""}}, false},
    {"name with NUL", QUANT_ENAME, 1,
     {{.name = "a\0b.npy", .name_bytes = 7, .literal = FOUR, .data = 16}}, false},
    {"name with a leading slash", QUANT_ENAME, 1,
     {{.name = "/a.npy", .literal = FOUR, .data = 16}}, false},
    {"name not UTF-8", QUANT_ENAME, 1,
     {{.name = "\377.npy", .literal = FOUR, .data = 16}}, false},
    {"folder", QUANT_EUNSUPPORTED, 1, {{.name = "f/", .raw = ""}}, false},
};

static void archives_built_wrong(void)
{
    for (size_t i = 0; i < sizeof builds / sizeof *builds; i++) {
        archive a = archive_make(builds[i].m, builds[i].count, builds[i].zip64);
        expect(builds[i].name, builds[i].expected, &a);
    }
    archive a = archive_make(two, 2, false);
    bytes_zero(&a.b, 1);
    expect("byte behind the end", QUANT_ELAYOUT, &a);
    a = archive_make(two, 2, false);
    archive_patch(&a, a.end + 20, 2, 3);
    bytes_add(&a.b, "abc", 3);
    expect("comment", QUANT_OK, &a);
    a = archive_make(two, 2, false);
    bytes shifted = {NULL, 0, 0};
    bytes_assemble(&shifted, "d:0x04034b50");
    bytes_add(&shifted, a.b.at, a.b.count);
    bytes_free(&a.b);
    a.b = shifted;
    expect("bytes before the first member", QUANT_ELAYOUT, &a);
}

/* ---- values --------------------------------------------------------------------------------- */

/* 1 when the bank is exactly what `two` says. */
static int holds_two(quant_context *ctx, quant_bank *bank)
{
    unsigned char raw[16];
    int64_t b[6];
    size_t i = 0, j = 0;
    if (quant_bank_count(bank) != 2 || quant_bank_find(ctx, bank, "a", &i) != QUANT_OK ||
        quant_bank_find(ctx, bank, "folder/b", &j) != QUANT_OK ||
        quant_bank_tensor(bank, i)->bytes != 16 ||
        quant_bank_read_raw(ctx, bank, i, 0, 16, raw) != QUANT_OK ||
        quant_bank_read_i64(ctx, bank, j, 0, 6, b) != QUANT_OK) {
        return 0;
    }
    int same = 1;
    for (int k = 0; k < 16; k++) {
        same = same && raw[k] == k;
    }
    for (int k = 0; k < 6; k++) { /* element [r][c] is the one of number 3c + r in the file */
        int f = k % 2 * 3 + k / 2;
        same = same && b[k] == 2 * f + 256 * (2 * f + 1);
    }
    return same;
}

static void values_and_single_bits(void)
{
    quant_context *ctx = quant_context_new(NULL);
    archive a = archive_make(two, 2, true);
    size_t accepted = 0;
    for (size_t bit = 0; bit <= 8 * a.b.count; bit++) {
        bool whole = bit == 8 * a.b.count;
        quant_bank *bank = NULL;
        a.b.at[whole ? 0 : bit / 8] ^= (unsigned char)(whole ? 0 : 1 << bit % 8);
        quant_status s = quant_bank_open(ctx, bytes_save(&a.b, "bit.npz"), &bank);
        int good = s != QUANT_OK || holds_two(ctx, bank);
        CU_ASSERT_EQUAL(good, 1);
        accepted += s == QUANT_OK;
        CU_ASSERT(!whole || s == QUANT_OK);
        quant_bank_close(ctx, bank);
        a.b.at[whole ? 0 : bit / 8] ^= (unsigned char)(whole ? 0 : 1 << bit % 8);
    }
    CU_ASSERT(accepted > 100 && accepted < 8 * a.b.count / 4); /* dates, versions, attributes */
    for (size_t n = 0; n < a.b.count; n++) {
        archive cut = {.b = {a.b.at, n, 0}};
        CU_ASSERT_NOT_EQUAL(opens(&cut, NULL), QUANT_OK);
    }
    bytes_free(&a.b);
    quant_context_free(ctx);
}

static void deflated_members_in_turns(void)
{
    quant_context *ctx = quant_context_new(NULL);
    const archive_member m[] = {
        {.name = "a.npy", .literal = ZEROS, .data = 200, .deflated = true},
        {.name = "b.npy", .literal = FOUR, .data = 16, .deflated = true}};
    archive a = archive_make(m, 2, false);
    quant_bank *bank = bytes_open(ctx, &a.b);
    for (int turn = 0; bank && turn < 3; turn++) {
        unsigned char raw[8];
        for (size_t t = 0; t < 2; t++) {
            CHECK_OK(ctx, quant_bank_read_raw(ctx, bank, t, 3, 8, raw));
            CU_ASSERT(raw[0] == 3 && raw[7] == 10);
        }
    }
    quant_bank_close(ctx, bank);
    quant_context_free(ctx);
}

/* ---- short memory --------------------------------------------------------------------------- */

/* zlib's own allocations go through the context too. */
static void allocations_may_fail(void)
{
    archive a = archive_make(two, 2, true);
    const char *path = bytes_save(&a.b, "short.npz");
    quant_status s = QUANT_ENOMEM;
    for (long k = 1; s != QUANT_OK && k < 1000; k++) {
        short_memory c = {.fail_at = k};
        quant_context *ctx = short_memory_context(&c);
        quant_bank *bank = NULL;
        unsigned char raw[12];
        s = quant_bank_open(ctx, path, &bank);
        if (s == QUANT_OK) {
            s = quant_bank_read_raw(ctx, bank, 1, 0, 12, raw);
        }
        CU_ASSERT_EQUAL(s, c.fired ? QUANT_ENOMEM : QUANT_OK);
        quant_bank_close(ctx, bank);
        quant_context_free(ctx);
        CU_ASSERT_EQUAL(c.held, 0);
    }
    CU_ASSERT_EQUAL(s, QUANT_OK);
    bytes_free(&a.b);
}

TEST_SUITE(npz, {"a field that lies is refused with its class", fields_that_lie},
           {"archives built wrong are refused, odd ones are not", archives_built_wrong},
           {"values; one wrong bit is seen or does not matter; no prefix passes",
            values_and_single_bits},
           {"deflated members read in turns", deflated_members_in_turns},
           {"any allocation may fail", allocations_may_fail})
