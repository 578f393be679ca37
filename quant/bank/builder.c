/* SPDX-License-Identifier: GPL-3.0-or-later */
/* builder.c - the bank while a reader fills it. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "quant/bank/reader.h"

struct quant_pool {
    quant_pool *next;
    size_t bytes, used; /* of data */
    char data[];
};

enum { POOL_BYTES = 1 << 14 };

quant_status quant_bank_grow(quant_context *ctx, void *array, size_t *room, size_t need,
                             size_t size)
{
    if (need <= *room) {
        return QUANT_OK;
    }
    size_t more = *room > SIZE_MAX / 4 ? SIZE_MAX : *room * 2;
    more = more < need ? need : more;
    more = more < 8 ? 8 : more;
    void *bigger = quant_alloc(ctx, more, size);
    if (!bigger) {
        return QUANT_ENOMEM;
    }
    void *old;
    memcpy(&old, array, sizeof old);
    if (old) {
        memcpy(bigger, old, *room * size);
        quant_release(ctx, old, *room, size);
    }
    memcpy(array, &bigger, sizeof bigger);
    *room = more;
    return QUANT_OK;
}

char *quant_bank_room(quant_context *ctx, quant_bank *bank, size_t bytes)
{
    quant_pool *p = bank->pool;
    if (!p || p->bytes - p->used < bytes + 1) {
        size_t size = bytes + 1 > POOL_BYTES ? bytes + 1 : POOL_BYTES;
        p = quant_alloc(ctx, sizeof *p + size, 1);
        if (!p) {
            return NULL;
        }
        *p = (quant_pool){.next = bank->pool, .bytes = size, .used = 0};
        bank->pool = p;
    }
    char *room = p->data + p->used;
    memset(room, 0, bytes + 1);
    p->used += bytes + 1;
    return room;
}

char *quant_bank_text(quant_context *ctx, quant_bank *bank, const char *text, size_t bytes)
{
    char *copy = quant_bank_room(ctx, bank, bytes);
    return copy && bytes ? memcpy(copy, text, bytes) : copy;
}

quant_status quant_bank_add_source(quant_context *ctx, quant_bank *bank, const char *path,
                                   size_t *source)
{
    QUANT_TRY(quant_bank_grow(ctx, &bank->sources, &bank->source_room, bank->source_count + 1,
                              sizeof *bank->sources));
    QUANT_TRY(quant_source_open(ctx, path, &bank->sources[bank->source_count]));
    *source = bank->source_count++;
    return QUANT_OK;
}

quant_status quant_bank_add(quant_context *ctx, quant_bank *bank, const quant_entry *entry)
{
    QUANT_TRY(quant_bank_grow(ctx, &bank->entries, &bank->room, bank->count + 1,
                              sizeof *bank->entries));
    bank->entries[bank->count++] = *entry;
    return QUANT_OK;
}

quant_status quant_bank_add_pair(quant_context *ctx, quant_bank *bank, const char *key,
                                 const char *value)
{
    return quant_bank_add_value(ctx, bank, key,
                                &(quant_metadata){.kind = QUANT_METADATA_TEXT, .text = value});
}

quant_status quant_bank_add_value(quant_context *ctx, quant_bank *bank, const char *key,
                                  const quant_metadata *value)
{
    QUANT_TRY(quant_bank_grow(ctx, &bank->pairs, &bank->pair_room, bank->pair_count + 1,
                              sizeof *bank->pairs));
    bank->pairs[bank->pair_count++] = (quant_pair){key, *value};
    return QUANT_OK;
}

quant_status quant_bank_add_note(quant_context *ctx, quant_bank *bank, const char *format, ...)
{
    char line[256];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    for (size_t i = 0; i < bank->note_count; i++) {
        if (strcmp(bank->notes[i], line) == 0) {
            return QUANT_OK;
        }
    }
    if (bank->note_count < QUANT_BANK_NOTES) {
        const char *kept = quant_bank_text(ctx, bank, line, strlen(line));
        if (!kept) {
            return QUANT_ENOMEM;
        }
        bank->notes[bank->note_count++] = kept;
    }
    return QUANT_OK;
}

static void fill_names(const quant_bank *bank, size_t start, quant_name *names)
{
    for (size_t i = start; i < bank->count; i++) {
        const char *name = bank->entries[i].tensor.name;
        names[i - start] = (quant_name){name, strlen(name), i};
    }
    quant_names_sort(names, bank->count - start);
}

static quant_status check_twice(quant_context *ctx, const quant_name *names, size_t count)
{
    const quant_name *twice = quant_names_duplicate(names, count);
    return twice ? quant_fail(ctx, QUANT_EDUP, "tensor \"%s\": expected the name once, found it "
                              "again at record %zu", twice->text, twice->index)
                 : QUANT_OK;
}

quant_status quant_bank_check_names(quant_context *ctx, const quant_bank *bank, size_t start)
{
    size_t count = bank->count - start;
    quant_name *names = quant_alloc(ctx, count, sizeof *names);
    if (!names) {
        return QUANT_ENOMEM;
    }
    fill_names(bank, start, names);
    quant_status s = check_twice(ctx, names, count);
    quant_release(ctx, names, count, sizeof *names);
    return s;
}

/* The first of equal keys wins: shards repeat each other's metadata. */
quant_status quant_bank_finish(quant_context *ctx, quant_bank *bank)
{
    bank->by_name = quant_alloc(ctx, bank->count, sizeof *bank->by_name);
    bank->by_key = quant_alloc(ctx, bank->pair_count, sizeof *bank->by_key);
    if (!bank->by_name || !bank->by_key) {
        return QUANT_ENOMEM;
    }
    for (size_t i = 0; i < bank->pair_count; i++) {
        bank->by_key[i] = (quant_name){bank->pairs[i].key, strlen(bank->pairs[i].key), i};
    }
    quant_names_sort(bank->by_key, bank->pair_count);
    fill_names(bank, 0, bank->by_name);
    return check_twice(ctx, bank->by_name, bank->count);
}

char *quant_bank_beside(quant_context *ctx, quant_bank *bank, const char *path, const char *name)
{
    const char *slash = strrchr(path, '/');
    size_t folder = slash ? (size_t)(slash - path) + 1 : 0, bytes = strlen(name);
    size_t whole = folder + bytes;
    char *joined = quant_alloc(ctx, whole + 1, 1);
    if (!joined) {
        return NULL;
    }
    memcpy(joined, path, folder);
    memcpy(joined + folder, name, bytes);
    char *kept = quant_bank_text(ctx, bank, joined, whole);
    quant_release(ctx, joined, whole + 1, 1);
    return kept;
}

static void free_pool(quant_context *ctx, quant_pool *pool)
{
    while (pool) {
        quant_pool *next = pool->next;
        quant_release(ctx, pool, sizeof *pool + pool->bytes, 1);
        pool = next;
    }
}

void quant_bank_close(quant_context *ctx, quant_bank *bank)
{
    if (!bank) {
        return;
    }
    for (size_t i = 0; i < bank->source_count; i++) {
        quant_source_close(ctx, &bank->sources[i]);
    }
    quant_release(ctx, bank->sources, bank->source_room, sizeof *bank->sources);
    quant_release(ctx, bank->entries, bank->room, sizeof *bank->entries);
    quant_release(ctx, bank->by_name, bank->count, sizeof *bank->by_name);
    quant_release(ctx, bank->pairs, bank->pair_room, sizeof *bank->pairs);
    quant_release(ctx, bank->by_key, bank->pair_count, sizeof *bank->by_key);
    quant_release(ctx, bank->scratch, QUANT_BANK_SCRATCH, 1);
    quant_release(ctx, bank->inflated, bank->inflated_bytes, 1);
    free_pool(ctx, bank->pool);
    quant_release(ctx, bank, 1, sizeof *bank);
}
