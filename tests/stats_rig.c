/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tests/stats_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/scratch.h"
#include "tests/test.h"

stats_rig *rig_open(const char *word, uint64_t k, bool moe, size_t n, size_t s)
{
    stats_rig *r = calloc(1, sizeof *r);
    r->ctx = quant_context_new(NULL);
    r->d = draw_begin(word, k);
    r->tiny = tiny_draw(r->ctx, &r->d, moe);
    CHECK_OK(r->ctx, quant_model_open(r->ctx, r->tiny->folder, &r->model));
    r->tokens = (quant_tokens){r->ids, n, s};
    for (size_t i = 0; i < n * s; i++) {
        r->ids[i] = draw_int(&r->d, 0, r->tiny->vocab - 1);
    }
    snprintf(r->path, sizeof r->path, "%s", scratch_join(scratch_folder("stats"), "s.safetensors"));
    return r;
}

void rig_close(stats_rig *r)
{
    quant_model_close(r->ctx, r->model);
    tiny_free(r->tiny);
    quant_context_free(r->ctx);
    free(r);
}

/* Embeddings of +-1: the norm divides all rows by the same. */
void rig_odd_channels(stats_rig *r)
{
    size_t width = (size_t)r->tiny->width;
    for (size_t t = 0; t < r->tiny->count; t++) {
        tiny_tensor *x = &r->tiny->t[t];
        bool embed = strcmp(x->name, "model.embed_tokens.weight") == 0;
        for (size_t i = 0; embed && i < x->count; i++) {
            x->w[i] = i % width == 2 || x->w[i] > 0 ? 1.0f : -1.0f;
        }
        if (strcmp(x->name, "model.layers.0.input_layernorm.weight") == 0) {
            x->w[0] = 1e4f;
            x->w[1] = 0;
        }
    }
    quant_model_close(r->ctx, r->model);
    tiny_weights(r->ctx, r->tiny, SIZE_MAX);
    CHECK_OK(r->ctx, quant_model_open(r->ctx, r->tiny->folder, &r->model));
}

char *rig_bytes(stats_rig *r, const quant_calibrate_options *o, int threads, size_t *bytes)
{
    quant_stats *stats = NULL;
    quant_context *ctx = quant_context_new(NULL);
    quant_context_set_threads(ctx, threads);
    unlink(r->path);
    CHECK_OK(ctx, quant_calibrate(ctx, r->model, &r->tokens, o, r->path, &stats));
    quant_stats_close(ctx, stats);
    quant_context_free(ctx);
    return scratch_get(r->path, bytes);
}
