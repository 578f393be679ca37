/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "quant/bank/bank.h"

#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "quant/bank/reader.h"

enum { HEAD = 64 };

/* Asked in this order: a plausible header length with '{' behind it cannot be a GGUF or npy, whose
 * first bytes read as a length far over the limit, but they admit near misses. The last row takes
 * what nobody recognises and says why it is nothing. */
static const quant_reader readers[] = {
    {"safetensors", quant_safetensors_recognises, quant_safetensors_open},
    {"gguf", quant_gguf_recognises, quant_gguf_open},
    {"npy", quant_npy_recognises, quant_npy_open},
    {"npz", quant_npz_recognises, quant_npz_open},
    {"safetensors", quant_index_recognises, quant_index_open},
    {"safetensors", NULL, quant_safetensors_open},
};
enum { READERS = sizeof readers / sizeof *readers };

static bool is_text(const unsigned char *head, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        if ((head[i] < 0x20 && (head[i] < 9 || head[i] > 13)) || head[i] > 0x7e) {
            return false;
        }
    }
    return bytes > 8;
}

static quant_status choose(quant_context *ctx, const quant_source *file,
                           const quant_reader **reader)
{
    unsigned char head[HEAD];
    size_t bytes = file->size < HEAD ? (size_t)file->size : HEAD;
    QUANT_TRY(quant_source_read(ctx, file, 0, head, bytes));
    for (size_t i = 0; i + 1 < READERS; i++) {
        if (readers[i].recognises(head, bytes)) {
            *reader = &readers[i];
            return QUANT_OK;
        }
    }
    const char *what = quant_source_accident(head, bytes);
    what = what ? what : is_text(head, bytes) ? "a text file" : NULL;
    if (what) {
        return quant_fail(ctx, QUANT_EMAGIC, "magic, offset 0: expected safetensors, GGUF, npy or "
                          "npz, found %s", what);
    }
    *reader = &readers[READERS - 1];
    return QUANT_OK;
}

static quant_status fill(quant_context *ctx, quant_bank *bank, const char *path)
{
    size_t source;
    const quant_reader *reader = NULL;
    QUANT_TRY(quant_bank_add_source(ctx, bank, path, &source));
    quant_status s = choose(ctx, &bank->sources[source], &reader);
    if (s == QUANT_OK) {
        bank->format = reader->format;
        s = reader->open(ctx, bank, source);
    }
    if (s == QUANT_OK) {
        s = quant_bank_finish(ctx, bank);
    }
    return s == QUANT_OK ? s : quant_fail_prefix(ctx, s, path);
}

quant_status quant_bank_open(quant_context *ctx, const char *path, quant_bank **bank)
{
    if (!path || !bank) {
        return quant_fail(ctx, QUANT_EINVAL, "bank: expected a path and a place for the result");
    }
    char chosen[PATH_MAX];
    struct stat st;
    *bank = NULL;
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
        QUANT_TRY(quant_folder_choose(ctx, path, chosen, sizeof chosen));
        path = chosen;
    }
    quant_bank *b = quant_alloc(ctx, 1, sizeof *b);
    if (!b) {
        return QUANT_ENOMEM;
    }
    *b = (quant_bank){.format = ""};
    quant_status s = fill(ctx, b, path);
    if (s != QUANT_OK) {
        quant_bank_close(ctx, b);
        return s;
    }
    *bank = b;
    return QUANT_OK;
}

const char *quant_bank_format(const quant_bank *bank)
{
    return bank->format;
}

size_t quant_bank_count(const quant_bank *bank)
{
    return bank->count;
}

const quant_tensor *quant_bank_tensor(const quant_bank *bank, size_t i)
{
    return i < bank->count ? &bank->entries[i].tensor : NULL;
}

quant_status quant_bank_find(quant_context *ctx, const quant_bank *bank, const char *name,
                             size_t *i)
{
    const quant_name *n = quant_names_find(bank->by_name, bank->count, name, strlen(name));
    if (!n) {
        return quant_fail(ctx, QUANT_EFIELD,
                          "%s: tensor \"%s\": expected in the bank, found none of "
                          "that name",
                          bank->sources[0].path, name);
    }
    *i = n->index;
    return QUANT_OK;
}

const char *quant_bank_metadata(const quant_bank *bank, const char *key)
{
    return quant_bank_metadata_value(bank, key).text;
}

quant_metadata quant_bank_metadata_value(const quant_bank *bank, const char *key)
{
    const quant_name *n = quant_names_find(bank->by_key, bank->pair_count, key, strlen(key));
    return n ? bank->pairs[n->index].value : (quant_metadata){.kind = QUANT_METADATA_ABSENT};
}

const char *quant_bank_note(const quant_bank *bank, size_t i)
{
    return i < bank->note_count ? bank->notes[i] : NULL;
}

uint64_t quant_bank_file_bytes(const quant_bank *bank)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < bank->source_count; i++) {
        sum += bank->sources[i].size;
    }
    return sum;
}

quant_status quant_bank_unchanged(quant_context *ctx, const quant_bank *bank)
{
    for (size_t i = 0; i < bank->source_count; i++) {
        QUANT_TRY(quant_source_unchanged(ctx, &bank->sources[i]));
    }
    return QUANT_OK;
}
