/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_gate_verb.c - quant gate as a user's CI runs it. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/bank/npz_write.h"
#include "quant/random.h"
#include "quant/report/table.h"
#include "tests/run.h"
#include "tests/scratch.h"
#include "tests/sink.h"
#include "tests/test.h"

enum { N = 2, S = 3, V = 40, TOKENS = N * S, LOGITS = TOKENS * V };

/* What a candidate does to the reference. */
typedef enum change { SAME, NOISE, FLIPPED, SCALED, RETOKENED, RESHAPED, RENAMED, BROKEN } change;

static void put(quant_context *ctx, quant_npz_writer *w, size_t i, const void *data, size_t bytes)
{
    CHECK_OK(ctx, quant_npz_put(ctx, w, i, data, bytes));
}

/* tokens I32 [2, 3], logits_full F32 [2, 3, 40], and "extra" on one side only. */
static const char *make(const char *folder, const char *name, change c)
{
    quant_context *ctx = quant_context_new(NULL);
    const char *path = scratch_join(folder, name);
    int32_t tokens[TOKENS] = {5, 1, 4, 2, 8, 7};
    float logits[LOGITS];
    quant_random s = quant_random_stream(1, "logits");
    for (size_t i = 0; i < LOGITS; i++) {
        double w = quant_random_normal(&s, 2 * i), e = quant_random_normal(&s, 2 * i + 1);
        logits[i] = (float)(c == SCALED ? 1.5 * w : c == NOISE || c == FLIPPED ? w + 0.02 * e : w);
        logits[i] = c == FLIPPED && i / V == 5 ? -logits[i] : logits[i];
    }
    tokens[4] = c == RETOKENED ? 9 : 8;
    logits[V + 3] = c == BROKEN ? INFINITY : logits[V + 3];
    const quant_npz_item items[] = {
        {"tokens", QUANT_I32, {2, {N, S}}},
        {c == RENAMED ? "other" : "logits_full", QUANT_F32,
         {3, {c == RESHAPED ? S : N, c == RESHAPED ? N : S, V}}},
        {c == SAME ? "ref_only" : "cand_only", QUANT_F32, {1, {1}}}};
    quant_npz_writer *w = NULL;
    CHECK_OK(ctx, quant_npz_create(ctx, path, items, 3, &w));
    put(ctx, w, 0, tokens, sizeof tokens);
    put(ctx, w, 1, logits, sizeof logits);
    put(ctx, w, 2, logits, sizeof *logits);
    CHECK_OK(ctx, quant_npz_commit(ctx, w));
    quant_context_free(ctx);
    return path;
}

/* A folder with ref.npz and one candidate of each kind: same.npz, noise.npz, ... */
static const char *set_up(const char *name)
{
    static const struct {
        const char *file;
        change change;
    } files[] = {{"ref.npz", SAME}, {"noise.npz", NOISE}, {"flipped.npz", FLIPPED},
                 {"scaled.npz", SCALED}, {"tokens.npz", RETOKENED}, {"shape.npz", RESHAPED},
                 {"renamed.npz", RENAMED}, {"broken.npz", BROKEN}};
    const char *folder = scratch_folder(name);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        make(folder, files[i].file, files[i].change);
    }
    return folder;
}

/* Run in the folder and look for one text on either stream (NULL: none). */
static bool gives(const char *folder, int status, const char *arguments, const char *says)
{
    run_result r = run_shell("case \"$QUANT\" in /*) ;; *) QUANT=$PWD/$QUANT ;; esac; "
                             "cd '%s' && \"$QUANT\" gate %s", folder, arguments);
    size_t lines = 0;
    for (const char *p = r.err; *p; p++) {
        lines += *p == '\n';
    }
    bool good = r.status == status && lines == (status ? 1 : 0) &&
                (!says || strstr(r.out, says) || strstr(r.err, says));
    if (!good) {
        printf("\n    quant gate %s\n    gave %d (expected %d): %s%s", arguments, r.status, status,
               r.out, r.err);
    }
    run_free(&r);
    return good;
}

static void each_outcome_has_its_status(void)
{
    static const struct {
        int status;
        const char *arguments, *says;
    } list[] = {
        {0, "ref.npz ref.npz --gate 'cosine>=1,sqnr_db>=300,max_abs_error<=0'", "exact"},
        {0, "ref.npz noise.npz --gate 'cosine>=0.99'", "tokens: equal integers"},
        {0, "ref.npz noise.npz --gate 'argmax_agreement>=0.9'", "cand_only: only in the candidate"},
        {1, "ref.npz noise.npz --gate 'cosine>=0.99,worst.cosine>=0.999999'", "1 of 2 failed"},
        {1, "ref.npz flipped.npz --gate 'cosine>=0.97'", "at logits_full[1, 2] (1 of 1"},
        {1, "ref.npz flipped.npz --gate 'argmax_agreement>=0.9'", "at logits_full (1 of 1"},
        {1, "ref.npz broken.npz --gate 'cosine>=-1'", "found NaN at logits_full[0, 1]"},
        {2, "ref.npz noise.npz", "--gate, --pin or --pins"},
        {2, "ref.npz --gate 'cosine>=0'", "expected REF CAND"},
        {2, "ref.npz noise.npz --gate 'bytes<=3'", "argmax_agreement"},
        {2, "ref.npz noise.npz --pin a --pins b", "found both"},
        {2, "ref.npz noise.npz --gate 'cosine>=0' --note x", "--pin too"},
        {3, "ref.npz tokens.npz --gate 'cosine>=0'", "\"tokens\"[1, 1]: expected 8"},
        {3, "ref.npz shape.npz --gate 'cosine>=0'", "[2, 3, 40] as in the reference, found [3, 2"},
        {3, "ref.npz noise.npz --tensors 'x*' --gate 'cosine>=-1'", "none in common"},
        {1, "ref.npz renamed.npz --gate 'cosine>=-1'", "no row"},
        {5, "ref.npz none.npz --gate 'cosine>=0'", "none.npz"},
        {5, "ref.npz noise.npz --pins none.json", "none.json"}};
    const char *folder = set_up("gate_status");
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        CU_ASSERT(gives(folder, list[i].status, list[i].arguments, list[i].says));
    }
}

static void disagreements_are_told(void)
{
    const char *folder = set_up("gate_notes");
    CU_ASSERT(gives(folder, 0, "ref.npz scaled.npz --gate 'cosine>=0.97'", "about 1.5 x the"));
    CU_ASSERT(gives(folder, 1, "ref.npz scaled.npz --gate 'cosine>=0.97,sqnr_db>=20'",
                    "metrics disagree: cosine>=0.97 holds and sqnr_db>=20 fails"));
    CU_ASSERT(gives(folder, 1, "ref.npz flipped.npz --gate 'cosine>=0.6'", "the mean cosine"));
    CU_ASSERT(gives(folder, 1, "ref.npz broken.npz --gate 'cosine>=0.6'", "NaN or infinity at 1"));
    run_result r = run_shell("\"$QUANT\" gate '%s/ref.npz' '%s/noise.npz' --gate 'cosine>=0.9'",
                             folder, folder);
    int blank_ends = 0;
    CU_ASSERT_PTR_NULL(strstr(r.out, "note:"));
    CU_ASSERT(widest_line(r.out, &blank_ends) <= QUANT_TABLE_WIDTH);
    run_free(&r);
}

static void pins_hold_until_something_changes(void)
{
    const char *folder = set_up("gate_pins");
    CU_ASSERT(gives(folder, 0, "ref.npz noise.npz --gate 'cosine>=0.9' --pin p.json --note 'why "
                    "so' --scheme int8:channel", NULL));
    CU_ASSERT(gives(folder, 5, "ref.npz noise.npz --pin p.json", "--force"));
    CU_ASSERT(gives(folder, 0, "ref.npz noise.npz --pin q.json --note 'why so' "
                    "--scheme 'int8:channel,range=narrow'", NULL));
    size_t bytes;
    char *pins = scratch_get(scratch_join(folder, "p.json"), &bytes);
    CU_ASSERT_PTR_NOT_NULL_FATAL(pins);
    CU_ASSERT(scratch_holds(scratch_join(folder, "q.json"), pins, bytes));
    CU_ASSERT_PTR_NULL(strstr(pins, folder));
    CU_ASSERT_PTR_NOT_NULL(strstr(pins, "why so"));
    CU_ASSERT(gives(folder, 0, "ref.npz noise.npz --pins p.json --scheme int8:channel", "pinned"));
    CU_ASSERT(gives(folder, 0, "ref.npz ref.npz --pins p.json", "held"));
    CU_ASSERT(gives(folder, 3, "ref.npz noise.npz --pins p.json --scheme bf16", "of the scheme"));
    CU_ASSERT(gives(folder, 1, "ref.npz flipped.npz --pins p.json", "logits_full[1, 2]"));
    CU_ASSERT(gives(folder, 1, "ref.npz scaled.npz --pins p.json", "relative_error<="));
    CU_ASSERT(gives(folder, 1, "ref.npz renamed.npz --pins p.json", "found no row at logits_full"));
    CU_ASSERT(gives(folder, 3, "noise.npz ref.npz --pins p.json", "SHA-256 of the reference"));
    CU_ASSERT(gives(folder, 3, "tokens.npz tokens.npz --pins p.json", "SHA-256 of the tokens"));
    CU_ASSERT(gives(folder, 1, "ref.npz flipped.npz --gate 'cosine>=0.9' --pin never.json", NULL));
    CU_ASSERT(gives(folder, 3, "ref.npz broken.npz --pin never.json", "to pin"));
    CU_ASSERT_PTR_NULL(scratch_get(scratch_join(folder, "never.json"), &bytes));
    free(pins);
}

/* The digest in the file is what sha256sum says. */
static void digests_are_of_the_files(void)
{
    const char *folder = set_up("gate_sha");
    CU_ASSERT(gives(folder, 0, "ref.npz noise.npz --pin p.json", NULL));
    run_result r = run_shell("cd '%s' && for f in ref noise; do grep -c \"$(sha256sum < $f.npz | "
                             "cut -c -64)\" p.json; done", folder);
    CU_ASSERT_STRING_EQUAL(r.out, "1\n1\n");
    run_free(&r);
}

static void bad_pins_are_refused(void)
{
    static const struct {
        const char *edit, *says;
    } list[] = {{"s/pins.1/pins\\/2/", "quant.pins/1"},
                {"s/\"gates\"/\"gate\"/", "\"gates\": expected"},
                {"s/cosine>=/cosine=/", "expected expressions"},
                {"s/cosine>=/beauty>=/", "beauty"},
                {"s/\"array\": \"logits_full\",$/\"array\": 3,/", "array"},
                {"s/\"reference\"/\"referense\"/", "\"reference\": expected"},
                {"s/\"tokens_sha256\": \"./\"tokens_sha256\": \"X/", "64 hexadecimal"},
                {"/\"arrays\"/,$d", "JSON offset"}};
    const char *folder = set_up("gate_bad");
    CU_ASSERT(gives(folder, 0, "ref.npz noise.npz --pin p.json", NULL));
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        run_result r = run_shell("cd '%s' && sed -e '%s' p.json > bad.json && ! cmp -s p.json "
                                 "bad.json", folder, list[i].edit);
        CU_ASSERT_EQUAL(r.status, 0);
        run_free(&r);
        CU_ASSERT(gives(folder, 3, "ref.npz noise.npz --pins bad.json", list[i].says));
    }
    static const char empty[] = "{\"schema\":\"quant.pins/1\",\"reference\":{\"sha256\":\""
        "0000000000000000000000000000000000000000000000000000000000000000\"},"
        "\"tokens_sha256\":null,\"arrays\":[]}";
    scratch_put(scratch_join(folder, "bad.json"), empty, sizeof empty - 1);
    CU_ASSERT(gives(folder, 3, "ref.npz noise.npz --pins bad.json", "at least one gate"));
}

static void reports_for_machines(void)
{
    const char *folder = set_up("gate_json");
    char *first = NULL;
    for (int threads = 1; threads <= 5; threads += 2) {
        run_result r = run_shell("\"$QUANT\" gate '%s/ref.npz' '%s/flipped.npz' --threads %d "
                                 "--gate 'cosine>=0.5' --format json", folder, folder, threads);
        CU_ASSERT_EQUAL(r.status, 1);
        json_t *root = json_loads(r.out, JSON_REJECT_DUPLICATES, NULL);
        CU_ASSERT_PTR_NOT_NULL_FATAL(root);
        json_t *row = json_array_get(json_object_get(root, "arrays"), 0);
        CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(row, "worst_position")), "[1, 2]");
        CU_ASSERT_EQUAL(json_integer_value(json_object_get(row, "positions")), TOKENS);
        json_t *gate = json_array_get(json_object_get(root, "gates"), 0);
        CU_ASSERT(json_is_false(json_object_get(gate, "held")));
        CU_ASSERT_PTR_NULL(strstr(r.out, folder));
        first = first ? first : strdup(r.out);
        CU_ASSERT_STRING_EQUAL(first, r.out);
        json_decref(root);
        run_free(&r);
    }
    free(first);
    CU_ASSERT(gives(folder, 0, "ref.npz noise.npz --gate 'cosine>=0.5' --format csv",
                    "logits_full,2x3x40,6,6,0,"));
}

TEST_SUITE(gate_verb,
           {"each outcome has its status", each_outcome_has_its_status},
           {"disagreements of metrics are told", disagreements_are_told},
           {"pins hold until something changes", pins_hold_until_something_changes},
           {"digests are those of the files", digests_are_of_the_files},
           {"bad pins are refused", bad_pins_are_refused},
           {"reports for machines", reports_for_machines})
