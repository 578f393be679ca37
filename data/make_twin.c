/* SPDX-License-Identifier: GPL-3.0-or-later */
/* make_twin - write the twin of a model, as twin.h says, beside a copy of its config.json. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "data/twin.h"
#include "quant/bank/output.h"
#include "quant/internal.h"

static const char usage[] =
    "make_twin MODEL -o FOLDER [--spread S] [--seed N] [--moves norms,values,inner,keys]\n"
    "  the same function with other weights: factors 2^rint(S n / ln 2), n standard normal, go\n"
    "  into one tensor and out of those that read it. MODEL is a folder of safetensors\n"
    "  --spread S   standard deviation of the logarithm of a factor, 0..8 (default 1.5)\n"
    "  --seed N     default 1\n"
    "  --moves M    norms: gains against columns of q k v gate up router experts (and the head)\n"
    "               values: rows of v against columns of o    inner: rows of up, columns of down\n"
    "               keys: k against q, in their norms where there are any       (default all)\n";

typedef struct request {
    const char *model, *out;
    twin_options twin;
} request;

static quant_status refuse(quant_context *ctx, const char *option, const char *expected,
                           const char *found)
{
    return quant_fail(ctx, QUANT_EINVAL, "%s: expected %s, found \"%s\"", option, expected, found);
}

static quant_status take_moves(quant_context *ctx, const char *value, unsigned *moves)
{
    static const struct {
        const char *word;
        twin_move move;
    } words[] = {{"norms", TWIN_NORMS}, {"values", TWIN_VALUES}, {"inner", TWIN_INNER},
                 {"keys", TWIN_KEYS}};
    *moves = 0;
    for (const char *at = value;; at += strcspn(at, ",") + 1) {
        size_t n = strcspn(at, ","), k = 0;
        while (k < 4 && (strlen(words[k].word) != n || strncmp(at, words[k].word, n) != 0)) {
            k++;
        }
        if (k == 4) {
            return refuse(ctx, "--moves", "some of norms,values,inner,keys", value);
        }
        *moves |= words[k].move;
        if (at[n] == '\0') {
            return QUANT_OK;
        }
    }
}

static quant_status take_option(quant_context *ctx, request *r, const char *option,
                                const char *value)
{
    char *end = NULL;
    if (strcmp(option, "-o") == 0) {
        r->out = value;
        return QUANT_OK;
    }
    if (strcmp(option, "--moves") == 0) {
        return take_moves(ctx, value, &r->twin.moves);
    }
    if (strcmp(option, "--spread") == 0) {
        r->twin.spread = strtod(value, &end);
        bool fits = end != value && *end == '\0' && r->twin.spread >= 0 && r->twin.spread <= 8;
        return fits ? QUANT_OK : refuse(ctx, option, "0..8", value);
    }
    if (strcmp(option, "--seed") == 0) {
        errno = 0;
        r->twin.seed = strtoull(value, &end, 10);
        bool fits = *value >= '0' && *value <= '9' && *end == '\0' && errno == 0;
        return fits ? QUANT_OK : refuse(ctx, option, "0..2^64-1", value);
    }
    return quant_fail(ctx, QUANT_EINVAL, "%s: expected an option of make_twin (see --help)",
                      option);
}

static quant_status parse(quant_context *ctx, int argc, char **argv, request *r)
{
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] != '-' && !r->model) {
            r->model = argv[i];
        } else if (i + 1 == argc) {
            return quant_fail(ctx, QUANT_EINVAL, "%s: expected a value after it", argv[i]);
        } else {
            QUANT_TRY(take_option(ctx, r, argv[i], argv[i + 1]));
            i++;
        }
    }
    return r->model && r->out ? QUANT_OK
                              : quant_fail(ctx, QUANT_EINVAL, "expected MODEL and -o FOLDER");
}

static quant_status join(quant_context *ctx, const char *folder, const char *name, char *out)
{
    int n = snprintf(out, PATH_MAX, "%s/%s", folder, name);
    return n > 0 && n < PATH_MAX ? QUANT_OK
                                 : quant_fail(ctx, QUANT_EIO, "%.100s: path too long", folder);
}

/* The configuration is the model's, byte by byte. */
static quant_status copy_config(quant_context *ctx, const request *r)
{
    enum { MOST = 1 << 22 };
    char from[PATH_MAX], to[PATH_MAX];
    quant_output *out = NULL;
    QUANT_TRY(join(ctx, r->model, "config.json", from));
    QUANT_TRY(join(ctx, r->out, "config.json", to));
    FILE *f = fopen(from, "rb");
    char *bytes = malloc(MOST);
    size_t n = f && bytes ? fread(bytes, 1, MOST, f) : 0;
    bool whole = f && bytes && !ferror(f) && n > 0 && n < MOST;
    quant_status s = whole ? quant_output_open(ctx, to, n, &out)
                           : quant_fail(ctx, QUANT_EIO, "%s: expected a file of 1..%d bytes", from,
                                        MOST - 1);
    s = s == QUANT_OK ? quant_output_write(ctx, out, 0, bytes, n) : s;
    if (s == QUANT_OK) {
        s = quant_output_commit(ctx, out);
    } else {
        quant_output_discard(ctx, out);
    }
    if (f) {
        fclose(f);
    }
    free(bytes);
    return s;
}

static quant_status make(quant_context *ctx, const request *r)
{
    char path[PATH_MAX];
    quant_model *model = NULL;
    twin_result result;
    QUANT_TRY(quant_model_open(ctx, r->model, &model));
    quant_status s = join(ctx, r->out, "model.safetensors", path);
    if (s == QUANT_OK && mkdir(r->out, 0777) != 0 && errno != EEXIST) {
        s = quant_fail(ctx, QUANT_EIO, "%s: %s", r->out, strerror(errno));
    }
    s = s == QUANT_OK ? twin_write(ctx, model, &r->twin, path, &result) : s;
    s = s == QUANT_OK ? copy_config(ctx, r) : s;
    if (s == QUANT_OK) {
        printf("%s: %zu of %zu tensors rescaled by 2^%d .. 2^%d\n", r->out, result.moved,
               result.tensors, result.least, result.most);
    }
    quant_model_close(ctx, model);
    return s;
}

int main(int argc, char **argv)
{
    if (argc < 2 || strcmp(argv[1], "--help") == 0) {
        fputs(usage, argc < 2 ? stderr : stdout);
        return argc < 2 ? 2 : 0;
    }
    quant_context *ctx = quant_context_new(NULL);
    request r = {.twin = {1.5, 1, TWIN_ALL}};
    quant_output_guard_signals();
    quant_status s = ctx ? parse(ctx, argc, argv, &r) : QUANT_ENOMEM;
    s = s == QUANT_OK ? make(ctx, &r) : s;
    if (s != QUANT_OK) {
        fprintf(stderr, "make_twin: %s\n", quant_context_message(ctx));
    }
    quant_context_free(ctx);
    return quant_status_exit(s);
}
