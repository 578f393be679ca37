/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tests/tiny_model.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/scratch.h"
#include "tests/test.h"

/* ---- making --------------------------------------------------------------------------------- */

static void add(tiny_model *m, draw *d, const quant_shape *shape, double scale, const char *format,
                ...) __attribute__((format(printf, 5, 6)));
static void add(tiny_model *m, draw *d, const quant_shape *shape, double scale, const char *format,
                ...)
{
    tiny_tensor *t = &m->t[m->count++];
    va_list args;
    va_start(args, format);
    vsnprintf(t->name, sizeof t->name, format, args);
    va_end(args);
    t->shape = *shape;
    t->count = 1;
    for (int i = 0; i < shape->rank; i++) {
        t->count *= (size_t)shape->dim[i];
    }
    t->w = malloc(t->count * sizeof *t->w);
    for (size_t i = 0; i < t->count; i++) {
        double z = draw_normal(d) * scale;
        t->w[i] = (float)(shape->rank == 1 ? 1 + z : z);
    }
}

static void matrix(tiny_model *m, draw *d, int rows, int cols, const char *format, int layer)
{
    char name[96];
    snprintf(name, sizeof name, "model.layers.%d.%s", layer, format);
    add(m, d, &(quant_shape){2, {(uint64_t)rows, (uint64_t)cols}}, 1 / sqrt(cols), "%s", name);
}

static void stack(tiny_model *m, draw *d, int rows, int cols, const char *format, int layer)
{
    const quant_shape shape = {3, {(uint64_t)m->experts, (uint64_t)rows, (uint64_t)cols}};
    add(m, d, &shape, 1 / sqrt(cols), "model.layers.%d.experts.%s_proj", layer, format);
}

static void vector(tiny_model *m, draw *d, int n, const char *format, int layer)
{
    add(m, d, &(quant_shape){1, {(uint64_t)n}}, 0.3, "model.layers.%d.%s.weight", layer, format);
}

static void add_layer(tiny_model *m, draw *d, int l)
{
    int q = m->heads * m->head_dim, kv = m->kv_heads * m->head_dim;
    vector(m, d, m->width, "input_layernorm", l);
    matrix(m, d, q, m->width, "self_attn.q_proj.weight", l);
    matrix(m, d, kv, m->width, "self_attn.k_proj.weight", l);
    matrix(m, d, kv, m->width, "self_attn.v_proj.weight", l);
    matrix(m, d, m->width, q, "self_attn.o_proj.weight", l);
    vector(m, d, m->width, "post_attention_layernorm", l);
    matrix(m, d, m->inner, m->width, "mlp.gate_proj.weight", l);
    matrix(m, d, m->inner, m->width, "mlp.up_proj.weight", l);
    matrix(m, d, m->width, m->inner, "mlp.down_proj.weight", l);
    if (m->moe) {
        vector(m, d, m->head_dim, "self_attn.q_norm", l);
        vector(m, d, m->head_dim, "self_attn.k_norm", l);
        vector(m, d, m->width, "pre_feedforward_layernorm", l);
        vector(m, d, m->width, "post_feedforward_layernorm", l);
        matrix(m, d, m->experts, m->width, "router.proj.weight", l);
        stack(m, d, m->expert_inner, m->width, "gate", l);
        stack(m, d, m->expert_inner, m->width, "up", l);
        stack(m, d, m->width, m->expert_inner, "down", l);
    }
}

static void draw_sizes(tiny_model *m, draw *d)
{
    m->layers = (int)draw_int(d, 1, 3);
    m->kv_heads = (int)draw_int(d, 1, 3);
    m->heads = m->kv_heads * (int)draw_int(d, 1, 3);
    m->head_dim = 2 * (int)draw_int(d, 1, 4);
    m->width = m->moe ? (int)draw_int(d, 3, 24) : m->heads * m->head_dim;
    m->inner = (int)draw_int(d, 1, 40);
    m->vocab = (int)draw_int(d, 2, 50);
    m->tied = draw_int(d, 0, 1);
    m->eps = draw_int(d, 0, 1) ? 1e-5 : 1e-6;
    m->theta = draw_int(d, 0, 1) ? 10000 : 500000;
    if (m->moe) {
        m->experts = (int)draw_int(d, 1, 6);
        m->used = (int)draw_int(d, 1, m->experts);
        m->expert_inner = (int)draw_int(d, 1, 20);
        m->window = (int)draw_int(d, 1, 8);
        m->pattern = (int)draw_int(d, 1, 3);
        m->theta_local = 1000;
        m->cap = draw_int(d, 0, 1) ? 5 : 0;
    }
}

void tiny_config(const tiny_model *m, const char *line)
{
    FILE *f = fopen(scratch_join(m->folder, "config.json"), "w");
    fprintf(f, "{%s\"model_type\": \"%s\", \"num_hidden_layers\": %d, \"hidden_size\": %d,\n"
            "\"vocab_size\": %d, \"num_attention_heads\": %d, \"num_key_value_heads\": %d,\n"
            "\"head_dim\": %d, \"intermediate_size\": %d, \"rms_norm_eps\": %g, \"rope_theta\": %g,"
            "\n\"tie_word_embeddings\": %s", line, m->moe ? "quant_moe" : "llama", m->layers,
            m->width, m->vocab, m->heads, m->kv_heads, m->head_dim, m->inner, m->eps, m->theta,
            m->tied ? "true" : "false");
    if (m->moe) {
        fprintf(f, ", \"num_experts\": %d, \"num_experts_per_tok\": %d, \"moe_intermediate_size\": "
                "%d,\n\"sliding_window\": %d, \"sliding_window_pattern\": %d, "
                "\"rope_local_base_freq\": %g,\n\"final_logit_softcapping\": %g", m->experts,
                m->used, m->expert_inner, m->window, m->pattern, m->theta_local, m->cap);
    }
    fputs("}\n", f);
    fclose(f);
}

void tiny_weights(quant_context *ctx, const tiny_model *m, size_t without)
{
    quant_safetensors_item items[TINY_TENSORS];
    quant_safetensors_writer *w = NULL;
    size_t n = 0;
    for (size_t i = 0; i < m->count; i++) {
        if (i != without) {
            items[n++] = (quant_safetensors_item){m->t[i].name, QUANT_F32, m->t[i].shape};
        }
    }
    CHECK_OK(ctx, quant_safetensors_create(ctx, scratch_join(m->folder, "model.safetensors"), items,
                                           n, NULL, 0, &w));
    for (size_t i = 0, k = 0; w && i < m->count; i++) {
        if (i != without) {
            quant_safetensors_put(ctx, w, k++, 0, m->t[i].w, m->t[i].count * sizeof(float));
        }
    }
    CHECK_OK(ctx, quant_safetensors_commit(ctx, w));
}

tiny_model *tiny_draw(quant_context *ctx, draw *d, bool moe)
{
    tiny_model *m = calloc(1, sizeof *m);
    m->moe = moe;
    draw_sizes(m, d);
    add(m, d, &(quant_shape){2, {(uint64_t)m->vocab, (uint64_t)m->width}}, 0.5, "%s",
        "model.embed_tokens.weight");
    for (int l = 0; l < m->layers; l++) {
        add_layer(m, d, l);
    }
    add(m, d, &(quant_shape){1, {(uint64_t)m->width}}, 0.3, "%s", "model.norm.weight");
    if (!m->tied) {
        add(m, d, &(quant_shape){2, {(uint64_t)m->vocab, (uint64_t)m->width}}, 0.5, "%s",
            "lm_head.weight");
    }
    snprintf(m->folder, sizeof m->folder, "%s", scratch_memory("tiny"));
    mkdir(m->folder, 0700);
    tiny_config(m, "");
    tiny_weights(ctx, m, SIZE_MAX);
    return m;
}

void tiny_free(tiny_model *m)
{
    for (size_t i = 0; i < m->count; i++) {
        free(m->t[i].w);
    }
    remove(scratch_join(m->folder, "config.json"));
    remove(scratch_join(m->folder, "model.safetensors"));
    rmdir(m->folder);
    free(m);
}

/* ---- the forward pass ----------------------------------------------------------------------- */

enum { WIDEST = 128, LONGEST = 64 };

static const float *weight(const tiny_model *m, int layer, const char *tail)
{
    char name[96];
    if (layer < 0) {
        snprintf(name, sizeof name, "%s", tail);
    } else {
        snprintf(name, sizeof name, "model.layers.%d.%s", layer, tail);
    }
    for (size_t i = 0; i < m->count; i++) {
        if (strcmp(m->t[i].name, name) == 0) {
            return m->t[i].w;
        }
    }
    fprintf(stderr, "no tensor %s\n", name);
    exit(1);
}

static void times(const float *w, int rows, int cols, const double *x, double *y)
{
    for (int r = 0; r < rows; r++) {
        y[r] = 0;
        for (int c = 0; c < cols; c++) {
            y[r] += (double)w[r * cols + c] * x[c];
        }
    }
}

static void normed(const tiny_model *m, const double *x, const float *g, int n, double *y)
{
    double sum = 0;
    for (int i = 0; i < n; i++) {
        sum += x[i] * x[i];
    }
    for (int i = 0; i < n; i++) {
        y[i] = x[i] / sqrt(sum / n + m->eps) * (double)g[i];
    }
}

static void turned(double *x, int n, int position, double theta)
{
    for (int i = 0; i < n / 2; i++) {
        double a = position * pow(theta, -2.0 * i / n), u = x[i], v = x[i + n / 2];
        x[i] = u * cos(a) - v * sin(a);
        x[i + n / 2] = v * cos(a) + u * sin(a);
    }
}

/* Keys and values of the positions so far. */
typedef struct memory {
    double k[LONGEST][WIDEST], v[LONGEST][WIDEST];
} memory;

static bool everywhere(const tiny_model *m, int l)
{
    return !m->moe || (l + 1) % m->pattern == 0;
}

static void heads_of(const tiny_model *m, int l, const char *norm, int count, int p, double *x)
{
    double theta = everywhere(m, l) ? m->theta : m->theta_local;
    for (int h = 0; h < count; h++) {
        if (m->moe) {
            normed(m, x + h * m->head_dim, weight(m, l, norm), m->head_dim, x + h * m->head_dim);
        }
        turned(x + h * m->head_dim, m->head_dim, p, theta);
    }
}

static void attend(const tiny_model *m, int l, int p, const double *x, memory *past, double *out)
{
    double q[WIDEST], y[WIDEST] = {0}, share[LONGEST];
    int d = m->head_dim, kv = m->kv_heads * d;
    times(weight(m, l, "self_attn.q_proj.weight"), m->heads * d, m->width, x, q);
    times(weight(m, l, "self_attn.k_proj.weight"), kv, m->width, x, past->k[p]);
    times(weight(m, l, "self_attn.v_proj.weight"), kv, m->width, x, past->v[p]);
    heads_of(m, l, "self_attn.q_norm.weight", m->heads, p, q);
    heads_of(m, l, "self_attn.k_norm.weight", m->kv_heads, p, past->k[p]);
    for (int h = 0; h < m->heads; h++) {
        int g = h / (m->heads / m->kv_heads) * d;
        int from = everywhere(m, l) || p < m->window ? 0 : p - m->window + 1;
        double sum = 0;
        for (int j = from; j <= p; j++) {
            double dot = 0;
            for (int c = 0; c < d; c++) {
                dot += q[h * d + c] * past->k[j][g + c];
            }
            share[j] = exp(dot / sqrt(d));
            sum += share[j];
        }
        for (int j = from; j <= p; j++) {
            for (int c = 0; c < d; c++) {
                y[h * d + c] += share[j] / sum * past->v[j][g + c];
            }
        }
    }
    times(weight(m, l, "self_attn.o_proj.weight"), m->width, m->heads * d, y, out);
}

static double act(const tiny_model *m, double x)
{
    return m->moe ? 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * pow(x, 3))))
                  : x / (1 + exp(-x));
}

static void gated(const tiny_model *m, const float *gate, const float *up, const float *down,
                  int inner, const double *x, double *out)
{
    double a[WIDEST], b[WIDEST];
    times(gate, inner, m->width, x, a);
    times(up, inner, m->width, x, b);
    for (int i = 0; i < inner; i++) {
        a[i] = act(m, a[i]) * b[i];
    }
    times(down, m->width, inner, a, out);
}

/* share[experts]: weights of the chosen, 0 of the others. */
static void choose(tiny_model *m, int l, const double *x, double *share)
{
    double sum = 0, all = 0;
    bool chosen[WIDEST] = {false};
    times(weight(m, l, "router.proj.weight"), m->experts, m->width, x, share);
    for (int e = 0; e < m->experts; e++) {
        share[e] = exp(share[e]);
        all += share[e];
    }
    for (int k = 0; k <= m->used && k < m->experts; k++) {
        int best = -1;
        for (int e = 0; e < m->experts; e++) {
            best = !chosen[e] && (best < 0 || share[e] > share[best]) ? e : best;
        }
        if (k == m->used) { /* the first that stays out */
            for (int e = 0; e < m->experts; e++) {
                double gap = chosen[e] ? (share[e] - share[best]) / all : 1;
                m->margin = gap < m->margin ? gap : m->margin;
            }
            break;
        }
        chosen[best] = true;
        sum += share[best];
    }
    for (int e = 0; e < m->experts; e++) {
        share[e] = chosen[e] ? share[e] / sum : 0;
    }
}

/* Row `at` of layers times rows. */
static void experts(tiny_model *m, int l, size_t at, const double *x, double *out)
{
    double own[WIDEST], y[WIDEST];
    double *share = m->routes ? m->routes + at * (size_t)m->experts : own;
    int size = m->expert_inner * m->width;
    if (!m->frozen) {
        choose(m, l, x, share);
    }
    for (int e = 0; e < m->experts; e++) {
        memset(y, 0, sizeof y);
        if (share[e] > 0) {
            gated(m, weight(m, l, "experts.gate_proj") + e * size,
                  weight(m, l, "experts.up_proj") + e * size,
                  weight(m, l, "experts.down_proj") + e * size, m->expert_inner, x, y);
        }
        for (int i = 0; i < m->width; i++) {
            out[i] += share[e] * y[i];
        }
        for (int i = 0; i < m->width && m->outputs; i++) {
            m->outputs[(at * (size_t)m->experts + (size_t)e) * (size_t)m->width + (size_t)i] = y[i];
        }
    }
}

static void block(tiny_model *m, int l, int p, size_t at, double *h, memory *past)
{
    double x[WIDEST], y[WIDEST];
    normed(m, h, weight(m, l, "input_layernorm.weight"), m->width, x);
    attend(m, l, p, x, past, y);
    if (m->moe) {
        normed(m, y, weight(m, l, "post_attention_layernorm.weight"), m->width, y);
    }
    for (int i = 0; i < m->width; i++) {
        h[i] += y[i];
    }
    normed(m, h, weight(m, l, m->moe ? "pre_feedforward_layernorm.weight"
                                     : "post_attention_layernorm.weight"), m->width, x);
    gated(m, weight(m, l, "mlp.gate_proj.weight"), weight(m, l, "mlp.up_proj.weight"),
          weight(m, l, "mlp.down_proj.weight"), m->inner, x, y);
    if (m->moe) {
        experts(m, l, at, x, y);
        normed(m, y, weight(m, l, "post_feedforward_layernorm.weight"), m->width, y);
    }
    for (int i = 0; i < m->width; i++) {
        h[i] += y[i];
    }
}

void tiny_forward(tiny_model *m, const int64_t *ids, int n, int s, double *logits, double *hidden)
{
    memory *past = malloc((size_t)m->layers * sizeof *past);
    const float *embed = weight(m, -1, "model.embed_tokens.weight");
    const float *head = m->tied ? embed : weight(m, -1, "lm_head.weight");
    double h[WIDEST], x[WIDEST];
    m->margin = 1;
    for (int r = 0; r < n * s; r++) {
        for (int i = 0; i < m->width; i++) {
            h[i] = (double)embed[ids[r] * m->width + i] * (m->moe ? sqrt(m->width) : 1);
        }
        for (int l = 0; l < m->layers; l++) {
            block(m, l, r % s, (size_t)(l * n * s + r), h, &past[l]);
            if (hidden) {
                memcpy(hidden + (l * n * s + r) * m->width, h, (size_t)m->width * sizeof *h);
            }
        }
        normed(m, h, weight(m, -1, "model.norm.weight"), m->width, x);
        times(head, m->vocab, m->width, x, logits + r * m->vocab);
        for (int i = 0; i < m->vocab && m->cap > 0; i++) {
            logits[r * m->vocab + i] = m->cap * tanh(logits[r * m->vocab + i] / m->cap);
        }
    }
    free(past);
}
