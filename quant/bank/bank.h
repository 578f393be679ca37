/* SPDX-License-Identifier: GPL-3.0-or-later */
/* bank.h - weight banks on disk: named tensors behind one interface.
 *
 * Formats, told by content and never by file name: safetensors (also a *.index.json with its
 * shards, or a folder that holds exactly one of the two), NumPy .npy v1-v3 and .npz, GGUF v2/v3.
 * The whole header is validated at opening; data is read piece by piece, so a bank may be larger
 * than memory (of an .npz, the largest compressed member is held). What is refused and what is
 * accepted with a note: quant/bank/README.md. */
#ifndef QUANT_BANK_BANK_H
#define QUANT_BANK_BANK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "quant/shape.h"

/* Element types that a bank may name. Rows of bank/dtype.def. */
typedef enum quant_dtype {
#define QUANT_DTYPE(id, name, bits, is_float, decoded) id,
#include "quant/bank/dtype.def"
#undef QUANT_DTYPE
    QUANT_DTYPE_COUNT
} quant_dtype;

const char *quant_dtype_name(quant_dtype d);  /* "F32", as in safetensors */
unsigned quant_dtype_bits(quant_dtype d);     /* of one element; 0 for block types of GGUF */
bool quant_dtype_is_float(quant_dtype d);     /* a floating-point type, decoded or not */
bool quant_dtype_is_decoded(quant_dtype d);   /* F64 F32 F16 BF16 */
bool quant_dtype_find(const char *name, quant_dtype *d);

typedef struct quant_tensor {
    const char *name;       /* UTF-8, NUL-terminated, owned by the bank */
    quant_dtype dtype;
    const char *dtype_text; /* as the file calls it: "F32", "Q4_K", "<f4" */
    quant_shape shape;      /* row-major, slowest axis first, whatever the file's own order */
    uint64_t elements;
    uint64_t bytes;         /* stored */
} quant_tensor;

typedef struct quant_bank quant_bank;

/* Open and validate. path may be a file, an index, or a folder. *bank is NULL after failure. A
 * file without tensors opens fine with count 0. Messages begin with the file's name. */
quant_status quant_bank_open(quant_context *ctx, const char *path, quant_bank **bank);
void quant_bank_close(quant_context *ctx, quant_bank *bank); /* NULL allowed */

const char *quant_bank_format(const quant_bank *bank); /* "safetensors", "npy", "npz", "gguf" */
size_t quant_bank_count(const quant_bank *bank);
/* Tensors in the order of their data (shards in the order of their names); NULL when i is not below
 * the count. The one tensor of an .npy file is called like the file, without folder and ".npy";
 * those of an .npz are called like its members, without ".npy". */
const quant_tensor *quant_bank_tensor(const quant_bank *bank, size_t i);
/* Index of a name; QUANT_EFIELD with a message when absent. O(log n). */
quant_status quant_bank_find(quant_context *ctx, const quant_bank *bank, const char *name,
                             size_t *i);
/* Value of a __metadata__ key (safetensors) or of a string key (GGUF); NULL when absent. */
const char *quant_bank_metadata(const quant_bank *bank, const char *key);

typedef enum quant_metadata_kind {
    QUANT_METADATA_ABSENT,
    QUANT_METADATA_TEXT,
    QUANT_METADATA_INTEGER, /* any width, bool as 0 or 1; u64 beyond int64 comes as REAL */
    QUANT_METADATA_REAL,
    QUANT_METADATA_ARRAY    /* is there; its elements are not kept */
} quant_metadata_kind;

/* A value of any kind: text for TEXT; integer for INTEGER; real for INTEGER and REAL. */
typedef struct quant_metadata {
    quant_metadata_kind kind;
    const char *text;
    int64_t integer;
    double real;
} quant_metadata;

quant_metadata quant_bank_metadata_value(const quant_bank *bank, const char *key);
/* Notes gathered while opening ("leading white space", "unpadded end"); NULL past the end. */
const char *quant_bank_note(const quant_bank *bank, size_t i);
/* Bytes of all files of the bank. */
uint64_t quant_bank_file_bytes(const quant_bank *bank);

/* Elements [first, first+count) of tensor i in row-major order, converted to float (F64 rounds to
 * nearest even; overflow gives infinity) or to double (exact). QUANT_EUNSUPPORTED for types that
 * are not decoded, QUANT_EIO when the file changed or shrank since opening. Not thread-safe
 * on one bank. npy with fortran_order is transposed on the fly. */
quant_status quant_bank_read_f32(quant_context *ctx, quant_bank *bank, size_t i, uint64_t first,
                                 uint64_t count, float *out);
quant_status quant_bank_read_f64(quant_context *ctx, quant_bank *bank, size_t i, uint64_t first,
                                 uint64_t count, double *out);
/* The same for integer types and BOOL; QUANT_ETYPE for others, QUANT_ERANGE for a U64 beyond
 * int64. */
quant_status quant_bank_read_i64(quant_context *ctx, quant_bank *bank, size_t i, uint64_t first,
                                 uint64_t count, int64_t *out);
/* Stored bytes [first, first+count) of tensor i, uninterpreted (any type). */
quant_status quant_bank_read_raw(quant_context *ctx, quant_bank *bank, size_t i, uint64_t first,
                                 uint64_t count, void *out);
/* QUANT_EIO when size, mtime or inode of a file differ from the opening. Call it after the last
 * read, before results are believed. */
quant_status quant_bank_unchanged(quant_context *ctx, const quant_bank *bank);

#endif
