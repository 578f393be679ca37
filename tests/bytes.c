/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tests/bytes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/test.h"

void bytes_add(bytes *b, const void *data, size_t count)
{
    if (b->count + count > b->room) {
        b->room = (b->count + count) * 2;
        b->at = realloc(b->at, b->room);
        if (!b->at) {
            perror("bytes");
            exit(1);
        }
    }
    if (count) {
        memcpy(b->at + b->count, data, count);
    }
    b->count += count;
}

static void repeat(bytes *b, size_t count, unsigned char value)
{
    for (size_t i = 0; i < count; i++) {
        bytes_add(b, &value, 1);
    }
}

void bytes_zero(bytes *b, size_t count)
{
    repeat(b, count, 0);
}

void bytes_pad(bytes *b, size_t multiple)
{
    bytes_zero(b, (multiple - b->count % multiple) % multiple);
}

void bytes_number(bytes *b, uint64_t value, int width)
{
    for (int i = 0; i < width; i++) {
        unsigned char c = (unsigned char)(value >> 8 * i);
        bytes_add(b, &c, 1);
    }
}

void bytes_free(bytes *b)
{
    free(b->at);
    *b = (bytes){NULL, 0, 0};
}

static uint64_t number(const char *text)
{
    char *end;
    if (strncmp(text, "2^", 2) != 0) {
        return strtoull(text, NULL, 0);
    }
    uint64_t k = strtoull(text + 2, &end, 10), v = k < 64 ? UINT64_C(1) << k : 0;
    uint64_t m = *end ? strtoull(end + 1, NULL, 10) : 0;
    return *end == '-' ? v - m : v + m;
}

static void one_word(bytes *b, char kind, const char *text, size_t length)
{
    uint64_t n = number(text);
    switch (kind) {
    case 's': bytes_number(b, length, 8); bytes_add(b, text, length); break;
    case 'r': bytes_add(b, text, length); break;
    case 'b': bytes_number(b, n, 1); break;
    case 'w': bytes_number(b, n, 2); break;
    case 'd': bytes_number(b, n, 4); break;
    case 'q': bytes_number(b, n, 8); break;
    case 'z': bytes_zero(b, (size_t)n); break;
    case 'f': repeat(b, (size_t)n, 0xff); break;
    case 'p': bytes_pad(b, (size_t)n); break;
    default: fprintf(stderr, "bytes: no such word %c:%s\n", kind, text); exit(1);
    }
}

void bytes_assemble(bytes *b, const char *line)
{
    char word[256];
    for (;;) {
        line += strspn(line, " ");
        size_t n = strcspn(line, " ");
        if (n < 2) {
            return;
        }
        snprintf(word, sizeof word, "%.*s", (int)n, line);
        one_word(b, word[0], word + 2, n - 2);
        line += n;
    }
}

static void count_up(bytes *b, size_t data)
{
    for (size_t i = 0; i < data; i++) {
        bytes_number(b, i, 1);
    }
}

void bytes_safetensors(bytes *b, const char *header, size_t length, size_t data)
{
    bytes_number(b, length, 8);
    bytes_add(b, header, length);
    count_up(b, data);
}

void bytes_npy(bytes *b, int major, int minor, const char *literal, size_t length, size_t data)
{
    int width = major == 1 ? 2 : 4;
    size_t used = 8 + (size_t)width + length + 1, pad = (64 - used % 64) % 64;
    bytes_add(b, "\x93NUMPY", 6);
    bytes_number(b, (uint64_t)major, 1);
    bytes_number(b, (uint64_t)minor, 1);
    bytes_number(b, length + pad + 1, width);
    bytes_add(b, literal, length);
    repeat(b, pad, ' ');
    repeat(b, 1, '\n');
    count_up(b, data);
}

const char *bytes_save(const bytes *b, const char *name)
{
    const char *path = test_scratch_path(name);
    FILE *f = fopen(path, "wb");
    if (!f || (b->count && fwrite(b->at, 1, b->count, f) != b->count) || fclose(f) != 0) {
        perror(path);
        exit(1);
    }
    return path;
}

const char *bytes_save_text(const char *name, const char *text)
{
    bytes b = {NULL, 0, 0};
    bytes_add(&b, text, strlen(text));
    const char *path = bytes_save(&b, name);
    bytes_free(&b);
    return path;
}

quant_bank *bytes_open(quant_context *ctx, bytes *b)
{
    const char *path = bytes_save(b, "bank.bin");
    bytes_free(b);
    return bytes_open_path(ctx, path);
}

quant_bank *bytes_open_path(quant_context *ctx, const char *path)
{
    quant_bank *bank = NULL;
    CHECK_OK(ctx, quant_bank_open(ctx, path, &bank));
    return bank;
}
