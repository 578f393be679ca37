/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tests/corpus.h"

#include <string.h>

const corpus_row corpus_rows[] = {
#define ST(name, status, text, data) {CORPUS_ST, name, status, text, sizeof text - 1, data, 0, 0},
#define NPY(name, status, major, minor, text, data) \
    {CORPUS_NPY, name, status, text, sizeof text - 1, data, major, minor},
#define ASM(name, status, text) {CORPUS_ASM, name, status, text, sizeof text - 1, 0, 0, 0},
#define INDEX(name, status, text) {CORPUS_INDEX, name, status, text, sizeof text - 1, 0, 0, 0},
#include "tests/corpus.def"
#undef ST
#undef NPY
#undef ASM
#undef INDEX
};
const size_t corpus_count = sizeof corpus_rows / sizeof *corpus_rows;

void corpus_build(const corpus_row *row, bytes *b)
{
    switch (row->kind) {
    case CORPUS_ST: bytes_safetensors(b, row->text, row->length, row->data); break;
    case CORPUS_NPY:
        bytes_npy(b, row->major, row->minor, row->text, row->length, row->data);
        break;
    case CORPUS_ASM: bytes_assemble(b, row->text); break;
    case CORPUS_INDEX: bytes_add(b, row->text, row->length); break;
    }
}

static void save_shard(const char *name, const char *header)
{
    bytes b = {NULL, 0, 0};
    bytes_safetensors(&b, header, strlen(header), 4);
    bytes_save(&b, name);
    bytes_free(&b);
}

/* one.safetensors holds a, two.safetensors holds b and c, bad.safetensors is not
 * one, empty is empty. */
const char *corpus_save(const corpus_row *row)
{
    bytes b = {NULL, 0, 0};
    corpus_build(row, &b);
    if (row->kind == CORPUS_INDEX) {
        save_shard("one.safetensors",
                   "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}");
        save_shard("two.safetensors",
                   "{\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
                   "\"c\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[2,4]}}");
        save_shard("bad.safetensors", "{]}");
        bytes_save(&(bytes){NULL, 0, 0}, "empty");
    }
    const char *path = bytes_save(&b, row->kind == CORPUS_INDEX ? "m.index.json" : "case.bin");
    bytes_free(&b);
    return path;
}
