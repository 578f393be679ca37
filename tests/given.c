/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tests/given.h"

#include <stdlib.h>

#include "tests/test.h"

void given_bank(const char *path, const given *g, size_t count,
                const quant_safetensors_pair *pairs, size_t pair_count)
{
    quant_safetensors_item items[16] = {{NULL, QUANT_F32, {0, {0}}}};
    quant_safetensors_writer *w = NULL;
    for (size_t i = 0; i < count; i++) {
        items[i] = g[i].item;
    }
    CU_ASSERT_EQUAL_FATAL(quant_safetensors_create(NULL, path, items, count, pairs, pair_count, &w),
                          QUANT_OK);
    for (size_t i = 0; i < count; i++) {
        CU_ASSERT_EQUAL(quant_safetensors_put(NULL, w, i, 0, g[i].data, g[i].bytes), QUANT_OK);
    }
    CU_ASSERT_EQUAL_FATAL(quant_safetensors_commit(NULL, w), QUANT_OK);
}

quant_pack_item given_item(quant_bank *bank, const char *name, const char *scheme)
{
    quant_pack_item item = {.keep = !scheme};
    CU_ASSERT_EQUAL(quant_bank_find(NULL, bank, name, &item.tensor), QUANT_OK);
    if (scheme) {
        CU_ASSERT_EQUAL(quant_scheme_parse(NULL, scheme, &item.scheme), QUANT_OK);
    }
    return item;
}

void *given_bytes(quant_bank *bank, const char *name, size_t *bytes)
{
    size_t i = 0;
    CU_ASSERT_EQUAL_FATAL(quant_bank_find(NULL, bank, name, &i), QUANT_OK);
    *bytes = (size_t)quant_bank_tensor(bank, i)->bytes;
    void *data = malloc(*bytes + 1);
    CU_ASSERT_EQUAL(quant_bank_read_raw(NULL, bank, i, 0, *bytes, data), QUANT_OK);
    return data;
}
