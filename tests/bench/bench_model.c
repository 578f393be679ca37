/* SPDX-License-Identifier: GPL-3.0-or-later */
/* bench_model.c - one layer of the runner against its own seven matrix products called plainly, in
 * the same rounds, one thread; tokens a second through whole models. Attention, norms, activation
 * and rotation count as time of the layer and not as its work. */
#include <cblas.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "quant/bank/safetensors_write.h"
#include "quant/model/block.h"
#include "quant/model/forward.h"
#include "quant/quant.h"
#include "tests/bench/bench.h"

enum { WIDTH = 2048, INNER = 5632, HEADS = 16, TOKENS = 512, VOCAB = 8 };

#define LAYER "model.layers.0."
static const struct {
    const char *name;
    int out, in; /* in = 0: a norm */
} tensors[] = {
    {LAYER "self_attn.q_proj.weight", WIDTH, WIDTH},
    {LAYER "self_attn.k_proj.weight", WIDTH, WIDTH},
    {LAYER "self_attn.v_proj.weight", WIDTH, WIDTH},
    {LAYER "self_attn.o_proj.weight", WIDTH, WIDTH},
    {LAYER "mlp.gate_proj.weight", INNER, WIDTH},
    {LAYER "mlp.up_proj.weight", INNER, WIDTH},
    {LAYER "mlp.down_proj.weight", WIDTH, INNER},
    {"model.embed_tokens.weight", VOCAB, WIDTH},
    {LAYER "input_layernorm.weight", WIDTH, 0},
    {LAYER "post_attention_layernorm.weight", WIDTH, 0},
    {"model.norm.weight", WIDTH, 0},
};
enum { PRODUCTS = 7, TENSORS = sizeof tensors / sizeof *tensors };

static void must(quant_status s, const char *what)
{
    if (s != QUANT_OK) {
        fprintf(stderr, "bench model: %s: %s\n", what, quant_status_text(s));
        exit(1);
    }
}

static float *normals(uint64_t n, double scale, const char *name)
{
    float *x = malloc(n * sizeof *x);
    quant_random r = quant_random_stream(1, name);
    if (!x) {
        abort();
    }
    quant_random_fill_normal(&r, 0, n, x);
    for (uint64_t i = 0; i < n; i++) {
        x[i] = (float)((double)x[i] * scale);
    }
    return x;
}

static void write_model(const char *folder, float *w[TENSORS])
{
    char path[600];
    quant_safetensors_item items[TENSORS];
    quant_safetensors_writer *to = NULL;
    snprintf(path, sizeof path, "%s/config.json", folder);
    FILE *f = fopen(path, "w");
    if (!f) {
        abort();
    }
    fprintf(f, "{\"model_type\": \"llama\", \"hidden_size\": %d, \"intermediate_size\": %d,\n"
            "\"num_hidden_layers\": 1, \"num_attention_heads\": %d, \"num_key_value_heads\": %d,\n"
            "\"vocab_size\": %d, \"rms_norm_eps\": 1e-5, \"rope_theta\": 10000.0,\n"
            "\"tie_word_embeddings\": true}\n", WIDTH, INNER, HEADS, HEADS, VOCAB);
    fclose(f);
    for (int i = 0; i < TENSORS; i++) {
        quant_shape shape = {tensors[i].in ? 2 : 1,
                             {(uint64_t)tensors[i].out, (uint64_t)tensors[i].in}};
        items[i] = (quant_safetensors_item){tensors[i].name, QUANT_F32, shape};
    }
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    must(quant_safetensors_create(NULL, path, items, TENSORS, NULL, 0, &to), "create");
    for (int i = 0; i < TENSORS; i++) {
        uint64_t n = (uint64_t)tensors[i].out * (uint64_t)(tensors[i].in ? tensors[i].in : 1);
        w[i] = normals(n, tensors[i].in ? 1.0 / 64 : 1, tensors[i].name);
        must(quant_safetensors_put(NULL, to, (size_t)i, 0, w[i], n * sizeof(float)), "put");
    }
    must(quant_safetensors_commit(NULL, to), "commit");
}

static void remove_model(const char *folder)
{
    static const char *const names[] = {"config.json", "model.safetensors"};
    char path[600];
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        remove(path);
    }
    rmdir(folder);
}

/* ---- a layer and its products --------------------------------------------------------------- */

typedef struct layer_work {
    quant_block *block;
    float *w[TENSORS];
    float *x, *y; /* [TOKENS][INNER] */
} layer_work;

static void run_layer(const void *work)
{
    const layer_work *k = work;
    must(quant_block_run(k->block, k->x, k->y), "layer");
}

static void run_products(const void *work)
{
    const layer_work *k = work;
    for (int i = 0; i < PRODUCTS; i++) {
        int out = tensors[i].out, in = tensors[i].in;
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, TOKENS, out, in, 1, k->x, in, k->w[i],
                    in, 0, k->y, out);
    }
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double seconds_of(void (*run)(const void *), const layer_work *k)
{
    double begin = bench_now();
    run(k);
    return bench_now() - begin;
}

/* Neighbours in time are compared: what else the machine does hits both. */
static void print_layer(const layer_work *k)
{
    double layer[BENCH_ROUNDS], plain[BENCH_ROUNDS], share[BENCH_ROUNDS], flops = 0;
    for (int i = 0; i < PRODUCTS; i++) {
        flops += 2.0 * TOKENS * tensors[i].out * tensors[i].in;
    }
    run_layer(k);
    run_products(k);
    for (int i = 0; i < BENCH_ROUNDS; i++) {
        plain[i] = seconds_of(run_products, k);
        layer[i] = seconds_of(run_layer, k);
        share[i] = plain[i] / layer[i];
    }
    qsort(layer, BENCH_ROUNDS, sizeof *layer, ascending);
    qsort(plain, BENCH_ROUNDS, sizeof *plain, ascending);
    qsort(share, BENCH_ROUNDS, sizeof *share, ascending);
    int middle = BENCH_ROUNDS / 2;
    printf("\none layer, hidden %d, inner %d, %d heads, %d tokens, one thread, medians of %d "
           "rounds\n"
           "%-40s %8.1f Gflop/s\n%-40s %8.1f Gflop/s\n"
           "%-40s %8.3f (%.3f .. %.3f)\n", WIDTH, INNER, HEADS, TOKENS, BENCH_ROUNDS,
           "its 7 matrix products, called plainly", 1e-9 * flops / plain[middle],
           "the layer, attention and norms included", 1e-9 * flops / layer[middle],
           "share, in pairs", share[middle], share[0], share[BENCH_ROUNDS - 1]);
}

static void time_layer(quant_context *ctx, const char *folder)
{
    layer_work k = {.x = normals((uint64_t)TOKENS * INNER, 1, "x"),
                    .y = normals((uint64_t)TOKENS * INNER, 1, "y")};
    quant_model *model = NULL;
    write_model(folder, k.w);
    must(quant_model_open(ctx, folder, &model), "open");
    must(quant_block_open(ctx, model, 0, 1, TOKENS, &k.block), "block");
    print_layer(&k);
    quant_block_close(ctx, k.block);
    quant_model_close(ctx, model);
    for (int i = 0; i < TENSORS; i++) {
        free(k.w[i]);
    }
    free(k.x);
    free(k.y);
}

/* ---- whole models --------------------------------------------------------------------------- */

typedef struct model_work {
    quant_context *ctx;
    quant_model *model;
    quant_tokens tokens;
    float *logits;
} model_work;

static void run_model(const void *work)
{
    const model_work *k = work;
    const quant_forward_variant v = {.logits = k->logits};
    must(quant_forward_run(k->ctx, k->model, &k->tokens, &v, 1, NULL), "forward");
}

static void time_model(quant_context *ctx, const char *name, const char *folder, size_t n, size_t s)
{
    model_work k = {.ctx = ctx};
    if (quant_model_open(ctx, folder, &k.model) != QUANT_OK) {
        printf("%-40s skipped: not at hand\n", name);
        return;
    }
    uint64_t vocab = quant_model_sizes_of(k.model)->vocab;
    int64_t *ids = malloc(n * s * sizeof *ids);
    quant_random r = quant_random_stream(1, name);
    k.logits = malloc(n * s * vocab * sizeof *k.logits);
    if (!ids || !k.logits) {
        abort();
    }
    for (size_t i = 0; i < n * s; i++) {
        ids[i] = (int64_t)quant_random_below(&r, i, vocab);
    }
    k.tokens = (quant_tokens){ids, n, s};
    bench_task task = {.run = run_model, .work = &k, .repeat = 1};
    bench_time(&task, 1);
    printf("%-40s %8.0f tokens/s (%zu sequences of %zu)\n", name,
           (double)(n * s) / task.seconds[BENCH_ROUNDS / 2], n, s);
    free(ids);
    free(k.logits);
    quant_model_close(ctx, k.model);
}

void bench_model(void)
{
    const char *banks = getenv("QUANT_BANKS"), *tmp = getenv("TMPDIR");
    char path[512];
    quant_context *ctx = quant_context_new(NULL);
    openblas_set_num_threads(1);
    quant_context_set_threads(ctx, 1);
    snprintf(path, sizeof path, "%s/quant-bench-XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(path)) {
        abort();
    }
    time_layer(ctx, path);
    remove_model(path);
    snprintf(path, sizeof path, "%s/stories260k", banks ? banks : "../shared/banks");
    printf("\nwhole models, float, one thread, reading the file each time, medians of %d rounds\n",
           BENCH_ROUNDS);
    time_model(ctx, "stories260k", path, 16, 128);
    time_model(ctx, "data/moe", "data/moe", 4, 256);
    quant_context_free(ctx);
}
