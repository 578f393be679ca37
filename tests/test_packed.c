/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/bank/packed.h"
#include "tests/given.h"
#include "tests/random_scheme.h"
#include "tests/scratch.h"
#include "tests/test.h"

enum { MOST_ELEMENTS = 2048, MOST_PACKED = MOST_ELEMENTS * 256 * 4 + 4096 };

/* ---- packing equals encoding, unpacking equals decoding -------------------------------------- */

typedef struct trial {
    quant_shape shape;
    char text[QUANT_SCHEME_TEXT];
    quant_scheme scheme;
    size_t n;
    float w[MOST_ELEMENTS], decoded[MOST_ELEMENTS];
    unsigned char packed[MOST_PACKED];
    quant_layout layout;
} trial;

static bool draw_trial(dice *d, trial *t)
{
    uint64_t n = 0;
    t->shape = dice_shape(d);
    dice_scheme(d, &t->shape, t->text);
    bool good = quant_scheme_parse(NULL, t->text, &t->scheme) == QUANT_OK &&
                quant_shape_elements(NULL, &t->shape, &n) == QUANT_OK;
    t->n = (size_t)n;
    dice_fill(d, t->n, t->w);
    good = good && quant_encode_layout(NULL, &t->scheme, &t->shape, &t->layout) == QUANT_OK;
    good = good && t->layout.bytes <= sizeof t->packed;
    memset(t->packed, 0xee, good ? t->layout.bytes : 0);
    good = good && quant_encode(NULL, &t->scheme, &t->shape, t->w, t->packed, t->layout.bytes,
                                NULL) == QUANT_OK;
    return good && quant_decode(NULL, &t->scheme, &t->shape, t->packed, t->layout.bytes,
                                t->decoded) == QUANT_OK;
}

static bool packed_equals(quant_packed *packed, const trial *t)
{
    static unsigned char got[MOST_PACKED];
    const quant_packed_tensor *p = quant_packed_tensor_at(packed, 0);
    memset(got, 0x55, t->layout.bytes);
    return quant_packed_count(packed) == 2 && !p->kept && p->source == QUANT_F32 &&
           strcmp(p->name, "w") == 0 && p->shape.rank == t->shape.rank &&
           memcmp(&p->scheme, &t->scheme, sizeof p->scheme) == 0 &&
           memcmp(&p->layout, &t->layout, sizeof p->layout) == 0 &&
           quant_packed_read(NULL, packed, 0, got) == QUANT_OK &&
           memcmp(got, t->packed, t->layout.bytes) == 0 &&
           quant_packed_tensor_at(packed, 1)->kept && !quant_packed_tensor_at(packed, 2);
}

/* source -> middle (packed) -> last (decoded). */
static bool round_trip(const trial *t, const char *source, const char *middle, const char *last)
{
    static const uint16_t halves[3] = {0x7e01, 0xfc00, 0x0001};
    const given g[2] = {{{"w", QUANT_F32, t->shape}, t->w, t->n * sizeof *t->w},
                        {{"kept", QUANT_F16, {1, {3}}}, halves, sizeof halves}};
    quant_bank *bank = NULL, *out = NULL;
    quant_packed *packed = NULL;
    given_bank(source, g, 2, NULL, 0);
    bool good = quant_bank_open(NULL, source, &bank) == QUANT_OK;
    quant_pack_item items[2] = {given_item(bank, "w", t->text), given_item(bank, "kept", NULL)};
    good = good && quant_pack_write(NULL, bank, items, 2, middle, NULL, NULL) == QUANT_OK &&
           !items[0].escalated;
    quant_bank_close(NULL, bank);
    good = good && quant_bank_open(NULL, middle, &bank) == QUANT_OK && quant_pack_is(bank) &&
           quant_packed_open(NULL, bank, &packed) == QUANT_OK && packed_equals(packed, t) &&
           quant_unpack_write(NULL, packed, last, QUANT_F32, NULL, NULL) == QUANT_OK &&
           quant_bank_open(NULL, last, &out) == QUANT_OK;
    if (good) {
        size_t bytes = 0, kept = 0;
        void *w = given_bytes(out, "w", &bytes), *h = given_bytes(out, "kept", &kept);
        good = bytes == t->n * sizeof *t->w && memcmp(w, t->decoded, bytes) == 0 &&
               kept == sizeof halves && memcmp(h, halves, kept) == 0 && !quant_pack_is(out);
        free(w);
        free(h);
    }
    quant_bank_close(NULL, out);
    quant_packed_close(NULL, packed);
    quant_bank_close(NULL, bank);
    return good;
}

static void packing_and_unpacking_change_nothing_else(void)
{
    static trial t;
    const char *source = scratch_memory("source"), *middle = scratch_memory("middle");
    const char *last = scratch_memory("last");
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        dice d = dice_of(test_seed() + 1, k);
        bool good = draw_trial(&d, &t) && round_trip(&t, source, middle, last);
        CU_ASSERT(good);
        if (!good) {
            test_failed_case(k, "%s, rank %d, %zu elements", t.text, t.shape.rank, t.n);
            break;
        }
    }
    remove(source);
    remove(middle);
    remove(last);
}

/* ---- what the first pass finds -------------------------------------------------------------- */

static const struct {
    const char *scheme, *stored; /* NULL: refused */
    float peak;
    bool escalated;
} peaks[] = {{"int4:block=4", "int4:block=4,store=f32", 1e6f, true},
             {"int4:tensor", "int4:tensor", 70000.0f, false},
             {"int8:channel", "int8:channel", 1e30f, false},
             {"int2:channel,store=bf16", "int2:channel,store=f32", 3.4e38f, true},
             {"lut4:tensor", "lut4:tensor,lut=f32", 70000.0f, true},
             {"lut2:group=1,lut=bf16", "lut2:group=1,lut=f32", 3.4e38f, true},
             {"lut1:tensor,lut=int8,store=f16", "lut1:tensor,lut=int8", 1e8f, true},
             {"lut4:tensor,lut=int8,store=f16", "lut4:tensor,store=f16,lut=int8", 7e6f, false},
             {"lut4:group=1,pcs", "lut4:group=1,store=f32,pcs", 70000.0f, true},
             {"lut4:tensor,pcs,store=f32", "lut4:tensor,store=f32,pcs", 70000.0f, false},
             {"f16", NULL, 70000.0f, false},
             {"f16", "f16", 65519.0f, false},
             {"bf16", "bf16", 1e38f, false}};

static void overflowing_scales_become_f32(void)
{
    quant_context *ctx = quant_context_new(NULL);
    const char *folder = scratch_folder("scale");
    const char *source = scratch_join(folder, "s"), *path = scratch_join(folder, "p");
    for (size_t i = 0; i < sizeof peaks / sizeof *peaks; i++) {
        float w[8] = {0.5f, 1, -1, 2, peaks[i].peak, 3, 0, -0.25f};
        given g = {{"w", QUANT_F32, {2, {2, 4}}}, w, sizeof w};
        quant_bank *bank = NULL;
        given_bank(source, &g, 1, NULL, 0);
        CHECK_OK(ctx, quant_bank_open(ctx, source, &bank));
        quant_pack_item item = given_item(bank, "w", peaks[i].scheme);
        quant_status s = quant_pack_write(ctx, bank, &item, 1, path, NULL, NULL);
        CU_ASSERT_EQUAL(s, peaks[i].stored ? QUANT_OK : QUANT_ESCALE);
        CU_ASSERT_EQUAL(item.escalated, peaks[i].escalated);
        quant_bank_close(ctx, bank);
        if (s == QUANT_OK) {
            char text[QUANT_SCHEME_TEXT];
            quant_scheme_print(&item.scheme, text);
            CU_ASSERT_STRING_EQUAL(text, peaks[i].stored);
            CHECK_OK(ctx, quant_bank_open(ctx, path, &bank));
            const char *value = quant_bank_metadata(bank, "quant:w");
            snprintf(text, sizeof text, "%s|2,4|F32", peaks[i].stored);
            CU_ASSERT_STRING_EQUAL(value, text);
            quant_bank_close(ctx, bank);
        }
    }
    quant_context_free(ctx);
}

/* The description is that of the weights, which any reader of the layout knows. */
static void a_scheme_with_activations_is_packed_as_its_weights(void)
{
    quant_context *ctx = quant_context_new(NULL);
    const char *folder = scratch_folder("w8a8");
    const char *source = scratch_join(folder, "s"), *path = scratch_join(folder, "p");
    float w[8] = {0.5f, 1, -1, 2, 7, 3, 0, -0.25f};
    given g = {{"w", QUANT_F32, {2, {2, 4}}}, w, sizeof w};
    quant_bank *bank = NULL;
    quant_packed *packed = NULL;
    given_bank(source, &g, 1, NULL, 0);
    CHECK_OK(ctx, quant_bank_open(ctx, source, &bank));
    quant_pack_item item = given_item(bank, "w", "w8a8,act=static,obs=percentile:99.9");
    CHECK_OK(ctx, quant_pack_write(ctx, bank, &item, 1, path, NULL, NULL));
    quant_bank_close(ctx, bank);
    CHECK_OK(ctx, quant_bank_open(ctx, path, &bank));
    CHECK_OK(ctx, quant_packed_open(ctx, bank, &packed));
    CU_ASSERT_EQUAL(quant_packed_count(packed), 1);
    CU_ASSERT_STRING_EQUAL(quant_bank_metadata(bank, "quant:w"), "int8:channel|2,4|F32");
    CU_ASSERT_STRING_EQUAL(quant_bank_metadata(bank, "activations:w"),
                           "w8a8,act=static,obs=percentile:99.9");
    quant_packed_close(ctx, packed);
    quant_bank_close(ctx, bank);
    quant_context_free(ctx);
}

static void nonfinite_tensors_stop_the_file(void)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    quant_context *ctx = quant_context_new(NULL);
    const char *folder = scratch_folder("nan");
    const char *source = scratch_join(folder, "s"), *path = scratch_join(folder, "p");
    scratch_put(path, "old", 3);
    for (int i = 0; i < 3; i++) {
        float w[12] = {1, 2, 3};
        w[7] = bad[i];
        w[9] = bad[(i + 1) % 3];
        given g[2] = {{{"sound", QUANT_F32, {1, {3}}}, w, 12},
                      {{"sick", QUANT_F32, {1, {12}}}, w, 48}};
        quant_bank *bank = NULL;
        given_bank(source, g, 2, NULL, 0);
        CHECK_OK(ctx, quant_bank_open(ctx, source, &bank));
        quant_pack_item items[2] = {given_item(bank, "sound", "int8:tensor"),
                                    given_item(bank, "sick", "int8:tensor")};
        CU_ASSERT_EQUAL(quant_pack_write(ctx, bank, items, 2, path, NULL, NULL), QUANT_ENONFINITE);
        CU_ASSERT_STRING_EQUAL(quant_context_message(ctx), "tensor sick: expected finite values, "
                               "found 2 others, the first at 7");
        CU_ASSERT(scratch_holds(path, "old", 3));
        items[1].keep = true;
        const char *other = scratch_join(folder, "q");
        CHECK_OK(ctx, quant_pack_write(ctx, bank, items, 2, other, NULL, NULL));
        quant_bank_close(ctx, bank);
    }
    CU_ASSERT_EQUAL(scratch_entries(folder), 3);
    quant_context_free(ctx);
}

static void refused_items(void)
{
    quant_context *ctx = quant_context_new(NULL);
    const char *folder = scratch_folder("items");
    const char *source = scratch_join(folder, "s"), *path = scratch_join(folder, "p");
    float w[4] = {1, 2, 3, 4};
    given g[3] = {{{"w", QUANT_F32, {1, {4}}}, w, 16}, {{"i", QUANT_I32, {1, {4}}}, w, 16},
                  {{"w.codes", QUANT_U8, {1, {4}}}, w, 4}};
    quant_bank *bank = NULL;
    given_bank(source, g, 3, NULL, 0);
    CHECK_OK(ctx, quant_bank_open(ctx, source, &bank));
    quant_pack_item channel = given_item(bank, "w", "int8:channel");
    CU_ASSERT_EQUAL(quant_pack_write(ctx, bank, &channel, 1, path, NULL, NULL), QUANT_ESHAPE);
    CU_ASSERT_EQUAL(strncmp(quant_context_message(ctx), "tensor w: ", 10), 0);
    quant_pack_item integer = given_item(bank, "i", "int8:tensor");
    CU_ASSERT_EQUAL(quant_pack_write(ctx, bank, &integer, 1, path, NULL, NULL), QUANT_EUNSUPPORTED);
    quant_pack_item beyond = {.tensor = 3, .keep = true};
    CU_ASSERT_EQUAL(quant_pack_write(ctx, bank, &beyond, 1, path, NULL, NULL), QUANT_EINVAL);
    quant_pack_item clash[2] = {given_item(bank, "w", "int8:tensor"),
                                given_item(bank, "w.codes", NULL)};
    CU_ASSERT_EQUAL(quant_pack_write(ctx, bank, clash, 2, path, NULL, NULL), QUANT_EDUP);
    quant_pack_item twice[2] = {given_item(bank, "w", NULL), given_item(bank, "w", NULL)};
    CU_ASSERT_EQUAL(quant_pack_write(ctx, bank, twice, 2, path, NULL, NULL), QUANT_EDUP);
    CU_ASSERT_EQUAL(scratch_entries(folder), 1);
    quant_bank_close(ctx, bank);
    quant_context_free(ctx);
}

/* ---- the file may be its own source; types of the way back ----------------------------------- */

static void count_progress(void *user, const char *name, uint64_t done, uint64_t total)
{
    char *seen = user;
    snprintf(seen + strlen(seen), 64, "%s %u/%u ", name, (unsigned)done, (unsigned)total);
}

static void a_bank_may_be_packed_over_itself(void)
{
    quant_context *ctx = quant_context_new(NULL);
    const char *path = scratch_join(scratch_folder("self"), "f");
    char seen[256] = "";
    double w[6] = {1, -2, 3, 4, 5, 1e-3};
    uint8_t raw[5] = {1, 2, 3, 4, 5};
    given g[2] = {{{"w", QUANT_F64, {2, {2, 3}}}, w, 48},
                  {{"raw", QUANT_F8_E4M3, {1, {5}}}, raw, 5}};
    quant_bank *bank = NULL;
    given_bank(path, g, 2, NULL, 0);
    CHECK_OK(ctx, quant_bank_open(ctx, path, &bank));
    quant_pack_item items[2] = {given_item(bank, "raw", NULL), given_item(bank, "w", "f16")};
    CHECK_OK(ctx, quant_pack_write(ctx, bank, items, 2, path, count_progress, seen));
    CU_ASSERT_STRING_EQUAL(seen, "raw 0/53 w 5/53 ");
    quant_bank_close(ctx, bank);
    quant_packed *packed = NULL;
    CHECK_OK(ctx, quant_bank_open(ctx, path, &bank));
    CHECK_OK(ctx, quant_packed_open(ctx, bank, &packed));
    CU_ASSERT_EQUAL(quant_packed_tensor_at(packed, 0)->source, QUANT_F64);
    CU_ASSERT_EQUAL(quant_bank_count(bank), 2);
    CU_ASSERT_EQUAL(quant_unpack_write(ctx, packed, path, QUANT_F64, NULL, NULL), QUANT_EINVAL);
    CHECK_OK(ctx, quant_unpack_write(ctx, packed, path, QUANT_BF16, NULL, NULL));
    quant_packed_close(ctx, packed);
    quant_bank_close(ctx, bank);
    CHECK_OK(ctx, quant_bank_open(ctx, path, &bank));
    static const uint16_t want[6] = {0x3f80, 0xc000, 0x4040, 0x4080, 0x40a0, 0x3a83};
    size_t bytes = 0;
    void *got = given_bytes(bank, "w", &bytes);
    CU_ASSERT(bytes == sizeof want && memcmp(got, want, bytes) == 0);
    free(got);
    got = given_bytes(bank, "raw", &bytes);
    CU_ASSERT(bytes == 5 && memcmp(got, raw, 5) == 0);
    free(got);
    quant_bank_close(ctx, bank);
    quant_context_free(ctx);
}

static void unpacking_to_f16_refuses_overflow(void)
{
    static const struct {
        float peak;
        quant_dtype dtype;
        quant_status want;
    } cases[] = {{65519.0f, QUANT_F16, QUANT_OK}, {65520.0f, QUANT_F16, QUANT_ERANGE},
                 {65520.0f, QUANT_BF16, QUANT_OK}, {3.4e38f, QUANT_BF16, QUANT_ERANGE},
                 {3.4e38f, QUANT_F32, QUANT_OK}};
    quant_context *ctx = quant_context_new(NULL);
    const char *folder = scratch_folder("back");
    const char *source = scratch_join(folder, "s"), *path = scratch_join(folder, "p");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        float w[2] = {1, cases[i].peak};
        given g = {{"w", QUANT_F32, {1, {2}}}, w, sizeof w};
        quant_bank *bank = NULL;
        quant_packed *packed = NULL;
        given_bank(source, &g, 1, NULL, 0);
        CHECK_OK(ctx, quant_bank_open(ctx, source, &bank));
        quant_pack_item item = given_item(bank, "w", "lut1:tensor,lut=f32");
        CHECK_OK(ctx, quant_pack_write(ctx, bank, &item, 1, path, NULL, NULL));
        quant_bank_close(ctx, bank);
        CHECK_OK(ctx, quant_bank_open(ctx, path, &bank));
        CHECK_OK(ctx, quant_packed_open(ctx, bank, &packed));
        CU_ASSERT_EQUAL(quant_unpack_write(ctx, packed, scratch_join(folder, "o"), cases[i].dtype,
                                           NULL, NULL), cases[i].want);
        quant_packed_close(ctx, packed);
        quant_bank_close(ctx, bank);
    }
    quant_context_free(ctx);
}

TEST_SUITE(packed,
           {"packing and unpacking change nothing else", packing_and_unpacking_change_nothing_else},
           {"overflowing scales become f32", overflowing_scales_become_f32},
           {"non-finite tensors stop the file", nonfinite_tensors_stop_the_file},
           {"a scheme with activations is packed as its weights",
            a_scheme_with_activations_is_packed_as_its_weights},
           {"items that cannot be packed are refused", refused_items},
           {"a bank may be packed over itself", a_bank_may_be_packed_over_itself},
           {"unpacking refuses overflow", unpacking_to_f16_refuses_overflow})
