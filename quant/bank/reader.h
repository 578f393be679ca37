/* SPDX-License-Identifier: GPL-3.0-or-later */
/* reader.h - what the readers of bank formats share: the bank while it is being filled, and the
 * table row of a format. Not installed.
 *
 * A reader appends entries to the bank; nothing it allocates is sized by a count that the file
 * merely claims: arrays grow with records that were really read. What a reader has added when it
 * fails is freed by quant_bank_close. */
#ifndef QUANT_BANK_READER_H
#define QUANT_BANK_READER_H

#include "quant/bank/bank.h"
#include "quant/bank/names.h"
#include "quant/bank/source.h"
#include "quant/internal.h"

typedef struct quant_entry {
    quant_tensor tensor;
    uint64_t offset;   /* of the first byte, in its file */
    size_t source;
    uint64_t order;    /* of its record in the file */
    bool swapped;      /* byte order is not this machine's */
    bool fortran;      /* stored with the first axis fastest */
    bool deflated;     /* member of an archive: offset counts in the inflated member */
    uint64_t packed, packed_bytes, whole; /* compressed bytes: where, how many; inflated size */
    uint32_t crc;
} quant_entry;

_Static_assert(sizeof(quant_entry) <= 256, "quant_sort moves at most 256 bytes");

typedef struct quant_pair {
    const char *key;
    quant_metadata value;
} quant_pair;

typedef struct quant_pool quant_pool; /* chunk of strings */

enum { QUANT_BANK_NOTES = 16 };

struct quant_bank {
    const char *format;
    quant_source *sources;
    size_t source_count, source_room;
    quant_entry *entries;
    size_t count, room;
    quant_name *by_name; /* [count] */
    quant_pair *pairs;
    size_t pair_count, pair_room;
    quant_name *by_key;  /* [pair_count] */
    const char *notes[QUANT_BANK_NOTES];
    size_t note_count;
    quant_pool *pool;
    void *scratch;       /* [QUANT_BANK_SCRATCH], allocated at the first read */
    unsigned char *inflated; /* data of the deflated member that was read last */
    size_t inflated_bytes;
    const quant_entry *inflated_of;
};

enum { QUANT_BANK_PIECE = 8192, QUANT_BANK_SCRATCH = 2 * 8 * QUANT_BANK_PIECE };

/* One row a format. recognises sees the first bytes (at most 64) of a file; open fills the bank
 * from bank->sources[source]. */
typedef struct quant_reader {
    const char *format;
    bool (*recognises)(const unsigned char *head, size_t bytes);
    quant_status (*open)(quant_context *ctx, quant_bank *bank, size_t source);
} quant_reader;

bool quant_gguf_recognises(const unsigned char *head, size_t bytes);
bool quant_npz_recognises(const unsigned char *head, size_t bytes);
bool quant_npy_recognises(const unsigned char *head, size_t bytes);
bool quant_safetensors_recognises(const unsigned char *head, size_t bytes);
bool quant_index_recognises(const unsigned char *head, size_t bytes);
quant_status quant_gguf_open(quant_context *ctx, quant_bank *bank, size_t source);
quant_status quant_npy_open(quant_context *ctx, quant_bank *bank, size_t source);
quant_status quant_npz_open(quant_context *ctx, quant_bank *bank, size_t source);
/* Put the data of a deflated member into bank->inflated, unless they are there. */
quant_status quant_npz_inflate(quant_context *ctx, quant_bank *bank, const quant_entry *entry);
quant_status quant_safetensors_open(quant_context *ctx, quant_bank *bank, size_t source);
quant_status quant_index_open(quant_context *ctx, quant_bank *bank, size_t source);

/* array[*room] grows so that it holds need items of `size`; at least doubles. */
quant_status quant_bank_grow(quant_context *ctx, void *array, size_t *room, size_t need,
                             size_t size);
/* A NUL-terminated copy of text[bytes] that lives as long as the bank; NULL without memory. */
char *quant_bank_text(quant_context *ctx, quant_bank *bank, const char *text, size_t bytes);
/* The same with `bytes` zero bytes to be filled in, and a NUL behind them. */
char *quant_bank_room(quant_context *ctx, quant_bank *bank, size_t bytes);
quant_status quant_bank_add_source(quant_context *ctx, quant_bank *bank, const char *path,
                                   size_t *source);
quant_status quant_bank_add(quant_context *ctx, quant_bank *bank, const quant_entry *entry);
/* key and text live as long as the bank. */
quant_status quant_bank_add_pair(quant_context *ctx, quant_bank *bank, const char *key,
                                 const char *value);
quant_status quant_bank_add_value(quant_context *ctx, quant_bank *bank, const char *key,
                                  const quant_metadata *value);
/* The same text is kept once; notes beyond QUANT_BANK_NOTES are dropped. */
quant_status quant_bank_add_note(quant_context *ctx, quant_bank *bank, const char *format, ...)
    QUANT_PRINTF(3, 4);
/* QUANT_EDUP when two of the entries from `start` on share a name. */
quant_status quant_bank_check_names(quant_context *ctx, const quant_bank *bank, size_t start);
/* Sort the directories; QUANT_EDUP as above. Called once, after the reader. */
quant_status quant_bank_finish(quant_context *ctx, quant_bank *bank);

/* Path of `name` in the folder of path, from the bank's pool; NULL without memory. */
char *quant_bank_beside(quant_context *ctx, quant_bank *bank, const char *path, const char *name);
/* QUANT_OK and a file's path when `path` names a folder that holds one bank. */
quant_status quant_folder_choose(quant_context *ctx, const char *path, char *chosen, size_t room);

#endif
