/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_corpus.c - what the readers say to files that are not what they should be. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "quant/bank/bank.h"
#include "tests/corpus.h"
#include "tests/short_memory.h"
#include "tests/test.h"

/* Allocator that counts, and fails from the given allocation on. */
static void one_line(const char *message, const char *path)
{
    CU_ASSERT(strlen(message) > strlen(path) + 10);
    CU_ASSERT_EQUAL(strncmp(message, path, strlen(path)), 0);
    CU_ASSERT_PTR_NULL(strchr(message, '\n'));
}

static void every_row_gets_its_status(void)
{
    quant_context *ctx = quant_context_new(NULL);
    size_t malformed = 0;
    for (size_t i = 0; i < corpus_count; i++) {
        const corpus_row *row = &corpus_rows[i];
        quant_bank *bank = NULL;
        const char *path = corpus_save(row);
        quant_status s = quant_bank_open(ctx, path, &bank);
        if (s != row->expected) {
            printf("\n    %s: expected %s, found %s: %s", row->name,
                   quant_status_word(row->expected), quant_status_word(s),
                   s == QUANT_OK ? "" : quant_context_message(ctx));
        }
        CU_ASSERT_EQUAL(s, row->expected);
        CU_ASSERT((s == QUANT_OK) == (bank != NULL));
        if (s != QUANT_OK) {
            one_line(quant_context_message(ctx), path);
        }
        malformed += row->expected != QUANT_OK;
        quant_bank_close(ctx, bank);
    }
    CU_ASSERT(malformed >= 150);
    quant_context_free(ctx);
}

static void names_of_rows_are_unique(void)
{
    for (size_t i = 0; i < corpus_count; i++) {
        for (size_t j = 0; j < i; j++) {
            CU_ASSERT_STRING_NOT_EQUAL(corpus_rows[i].name, corpus_rows[j].name);
        }
    }
}

/* The window of the GGUF reader and one pool of strings are 64 + 16 KiB; beyond that, every byte of
 * memory must be paid for by bytes of the file: an entry of about 200 bytes with its name for a
 * record of at least 25. */
static void memory_is_bounded_by_the_file(void)
{
    for (size_t i = 0; i < corpus_count; i++) {
        short_memory c = {.fail_at = -1};
        quant_context *ctx = short_memory_context(&c);
        quant_bank *bank;
        bytes b = {NULL, 0, 0};
        corpus_build(&corpus_rows[i], &b);
        quant_bank_open(ctx, corpus_save(&corpus_rows[i]), &bank);
        quant_bank_close(ctx, bank);
        CU_ASSERT(c.peak <= 100000 + 64 * b.count);
        quant_context_free(ctx);
        CU_ASSERT_EQUAL(c.held, 0);
        bytes_free(&b);
    }
}

static void open_and_read(quant_context *ctx, const char *path, quant_status *s)
{
    quant_bank *bank;
    float some[64];
    *s = quant_bank_open(ctx, path, &bank);
    for (size_t i = 0; *s == QUANT_OK && i < quant_bank_count(bank); i++) {
        const quant_tensor *t = quant_bank_tensor(bank, i);
        if (quant_dtype_is_decoded(t->dtype)) {
            *s = quant_bank_read_f32(ctx, bank, i, 0, t->elements < 64 ? t->elements : 64, some);
        }
    }
    quant_bank_close(ctx, bank);
}

static void allocations_may_fail(void)
{
    for (size_t i = 0; i < corpus_count; i += test_is_long() ? 1 : 5) {
        const char *path = corpus_save(&corpus_rows[i]);
        for (long k = 1, done = 0; !done; k++) { /* 0 is the context itself */
            quant_status s = QUANT_ENOMEM;
            for (long once = 0; once < 2; once++) {
                short_memory c = {.fail_at = k, .ever_after = !once};
                quant_context *ctx = short_memory_context(&c);
                open_and_read(ctx, path, &s);
                done = !c.fired;
                CU_ASSERT_EQUAL(s, done ? corpus_rows[i].expected : QUANT_ENOMEM);
                quant_context_free(ctx);
                CU_ASSERT_EQUAL(c.held, 0);
            }
        }
    }
}

/* ---- mutation: any status will do, as long as it is one
 * ------------------------------------------------------------ */

typedef struct sweep {
    quant_context *ctx;
    int fd;
    char path[64];
    size_t files, accepted;
} sweep;

static quant_status try_bytes(sweep *w, const unsigned char *at, size_t count)
{
    quant_bank *bank;
    if (pwrite(w->fd, at, count, 0) != (ssize_t)count || ftruncate(w->fd, (off_t)count) != 0) {
        CU_FAIL("memfd");
        return QUANT_EIO;
    }
    quant_status s = quant_bank_open(w->ctx, w->path, &bank);
    CU_ASSERT((s == QUANT_OK) == (bank != NULL));
    w->files++;
    w->accepted += s == QUANT_OK;
    for (size_t i = 0; s == QUANT_OK && i < quant_bank_count(bank); i++) {
        const quant_tensor *t = quant_bank_tensor(bank, i);
        unsigned char raw[64];
        double values[32];
        uint64_t last = t->bytes < 64 ? t->bytes : 64;
        CU_ASSERT(t->bytes <= count);
        CU_ASSERT_EQUAL(quant_bank_read_raw(w->ctx, bank, i, t->bytes - last, last, raw), QUANT_OK);
        if (quant_dtype_is_decoded(t->dtype)) {
            last = t->elements < 32 ? t->elements : 32;
            CU_ASSERT_EQUAL(quant_bank_read_f64(w->ctx, bank, i, t->elements - last, last, values),
                            QUANT_OK);
        }
    }
    quant_bank_close(w->ctx, bank);
    return s;
}

static void prefixes(sweep *w, const corpus_row *row, const bytes *b)
{
    bool gguf = row->kind == CORPUS_ASM && b->at[0] == 'G';
    for (size_t n = 0; n < b->count; n++) {
        quant_status s = try_bytes(w, b->at, n);
        /* Only padding behind the last tensor may be missing. */
        if (s == QUANT_OK && !(gguf && b->count - n <= 64)) {
            printf("\n    %s: accepted when cut to %zu of %zu bytes", row->name, n, b->count);
            CU_FAIL("prefix accepted");
        }
    }
}

static void bit_flips(sweep *w, bytes *b)
{
    for (size_t bit = 0; bit < 8 * b->count && bit < 8 * 4096; bit++) {
        b->at[bit / 8] ^= (unsigned char)(1 << bit % 8);
        try_bytes(w, b->at, b->count);
        b->at[bit / 8] ^= (unsigned char)(1 << bit % 8);
    }
}

static void fields(sweep *w, bytes *b)
{
    static const uint64_t values[] = {0, 1, 0x7fffffff, 0x80000000, UINT64_C(1) << 32,
                                      INT64_MAX, UINT64_C(1) << 63, UINT64_MAX};
    for (size_t width = 4; width <= 8; width += 4) {
        for (size_t at = 0; at + width <= b->count && at < 4096; at++) {
            unsigned char old[8];
            memcpy(old, b->at + at, width);
            for (size_t v = 0; v < sizeof values / sizeof *values; v++) {
                for (size_t i = 0; i < width; i++) {
                    b->at[at + i] = (unsigned char)(values[v] >> 8 * i);
                }
                try_bytes(w, b->at, b->count);
            }
            memcpy(b->at + at, old, width);
        }
    }
}

static void mutations_of_valid_files(void)
{
    sweep w = {.ctx = quant_context_new(NULL), .fd = memfd_create("mutation", MFD_CLOEXEC)};
    snprintf(w.path, sizeof w.path, "/proc/self/fd/%d", w.fd);
    size_t seen = 0;
    for (size_t i = 0; i < corpus_count; i++) {
        const corpus_row *row = &corpus_rows[i];
        if (row->expected != QUANT_OK || row->kind == CORPUS_INDEX ||
            (seen++ % 18 != 0 && !test_is_long())) {
            continue;
        }
        bytes b = {NULL, 0, 0};
        corpus_build(row, &b);
        CU_ASSERT_EQUAL(try_bytes(&w, b.at, b.count), QUANT_OK);
        prefixes(&w, row, &b);
        bit_flips(&w, &b);
        fields(&w, &b);
        bytes_free(&b);
    }
    printf("\n    %zu mutated files, %zu still banks ", w.files, w.accepted);
    CU_ASSERT(w.files > 10000);
    close(w.fd);
    quant_context_free(w.ctx);
}

/* ---- size ------------------------------------------------------------ */

/* Sparse: a terabyte of zeros, then with a beginning that promises more. */
static void a_sparse_terabyte_is_refused_by_its_beginning(void)
{
    static const struct {
        const char *start;
        quant_status expected;
    } cases[] = {{"", QUANT_ESYNTAX},
                 {"q:100000000", QUANT_ESYNTAX},
                 {"q:100000000 r:{", QUANT_ESYNTAX},
                 {"r:GGUF d:3 q:2^32 q:2^32", QUANT_ERANGE},
                 {"r:GGUF d:3 q:2^32 q:0", QUANT_ENAME},
                 {"r:GGUF d:3 q:0 q:1 s:a d:8 q:2^39", QUANT_ELIMIT},
                 {"r:GGUF d:3 q:0 q:1 s:a d:9 d:8 q:2^36", QUANT_ELIMIT},
                 {"r:GGUF d:3 q:0 q:0", QUANT_ETRAILING},
                 {"b:0x93 r:NUMPY b:1 b:0 w:64", QUANT_ESYNTAX},
                 {"r:{}", QUANT_ESYNTAX}};
    short_memory c = {.fail_at = -1};
    quant_context *ctx = short_memory_context(&c);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bytes b = {NULL, 0, 0};
        quant_bank *bank;
        bytes_assemble(&b, cases[i].start);
        const char *path = bytes_save(&b, "sparse.bin");
        bytes_free(&b);
        if (truncate(path, (off_t)1 << 40) != 0) {
            test_skip("this file system has no files of a terabyte");
            break;
        }
        quant_status s = quant_bank_open(ctx, path, &bank);
        if (s != cases[i].expected) {
            printf("\n    sparse %zu: %s %s", i, quant_status_word(s), quant_context_message(ctx));
        }
        CU_ASSERT_EQUAL(s, cases[i].expected);
        quant_bank_close(ctx, bank);
        unlink(path);
    }
    CU_ASSERT(c.peak < (size_t)128 << 20);
    quant_context_free(ctx);
}

static void add_text(bytes *b, const char *text)
{
    bytes_add(b, text, strlen(text));
}

/* Nothing quadratic: this many records take well under a second even with sanitizers on. */
static void many_tensors_and_pairs(void)
{
    enum { MANY = 20000 };
    quant_context *ctx = quant_context_new(NULL);
    bytes header = {NULL, 0, 0}, file = {NULL, 0, 0}, gguf = {NULL, 0, 0};
    bytes_assemble(&gguf, "r:GGUF d:3 q:20000 q:20000");
    for (int i = 0; i < MANY; i++) {
        char text[128];
        snprintf(text, sizeof text, "%s\"t.%d\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":"
                 "[%d,%d]}", i ? "," : "{", i * 7919 % MANY, i, i + 1);
        add_text(&header, text);
        snprintf(text, sizeof text, "s:key.%d d:8 s:value", i);
        bytes_assemble(&gguf, text);
    }
    add_text(&header, "}");
    for (int i = 0; i < MANY; i++) {
        char text[128];
        snprintf(text, sizeof text, "s:t.%d d:1 q:8 d:0 q:%d", i * 7919 % MANY, i * 32);
        bytes_assemble(&gguf, text);
    }
    bytes_pad(&gguf, 32);
    bytes_zero(&gguf, 32 * MANY);
    bytes_safetensors(&file, (char *)header.at, header.count, MANY);
    for (int k = 0; k < 2; k++) {
        quant_bank *bank;
        size_t at;
        CHECK_OK(ctx, quant_bank_open(ctx, bytes_save(k ? &gguf : &file, "many.bin"), &bank));
        CU_ASSERT_EQUAL(quant_bank_count(bank), MANY);
        CHECK_OK(ctx, quant_bank_find(ctx, bank, "t.7919", &at));
        CU_ASSERT_EQUAL(at, 1);
        CU_ASSERT(!k || strcmp(quant_bank_metadata(bank, "key.12345"), "value") == 0);
        quant_bank_close(ctx, bank);
    }
    bytes_free(&header);
    bytes_free(&file);
    bytes_free(&gguf);
    quant_context_free(ctx);
}

TEST_SUITE(corpus,
           {"every odd file gets its status and one line", every_row_gets_its_status},
           {"names of rows are unique", names_of_rows_are_unique},
           {"memory is bounded by the bytes of the file", memory_is_bounded_by_the_file},
           {"any allocation may fail", allocations_may_fail},
           {"mutations of valid files give a status", mutations_of_valid_files},
           {"a sparse terabyte is refused by its beginning",
            a_sparse_terabyte_is_refused_by_its_beginning},
           {"20000 tensors and keys", many_tensors_and_pairs})
