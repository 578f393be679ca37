/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_bank.c - values, shapes and names that come out of valid banks. */
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "quant/bank/bank.h"
#include "tests/bytes.h"
#include "tests/test.h"

static quant_context *ctx;

static quant_bank *open_safetensors(const char *header, const void *data, size_t count)
{
    bytes b = {NULL, 0, 0};
    bytes_safetensors(&b, header, strlen(header), 0);
    bytes_add(&b, data, count);
    return bytes_open(ctx, &b);
}

static size_t index_of(const quant_bank *bank, const char *name)
{
    size_t i = SIZE_MAX;
    CHECK_OK(ctx, quant_bank_find(ctx, bank, name, &i));
    return i;
}

static void begin(void)
{
    ctx = quant_context_new(NULL);
}

static void end(quant_bank *bank)
{
    quant_bank_close(ctx, bank);
    quant_context_free(ctx);
}

/* ---- values ------------------------------------------------------------ */

static void every_dtype_has_its_size(void)
{
    begin();
    quant_dtype d;
    for (int i = 0; i < QUANT_GGML_BLOCK; i++) {
        CU_ASSERT(quant_dtype_find(quant_dtype_name((quant_dtype)i), &d));
        CU_ASSERT_EQUAL((int)d, i);
        char header[200];
        unsigned count = quant_dtype_bits(d); /* bytes of 8 elements */
        unsigned char data[64] = {0};
        snprintf(header, sizeof header, "{\"t\":{\"dtype\":\"%s\",\"shape\":[2,4],\"data_offsets\":"
                 "[0,%u]}}", quant_dtype_name(d), count);
        quant_bank *bank = open_safetensors(header, data, count);
        const quant_tensor *t = quant_bank_tensor(bank, 0);
        double out[8];
        CU_ASSERT_EQUAL(t->bytes, count);
        CU_ASSERT_EQUAL(t->elements, 8);
        CU_ASSERT_STRING_EQUAL(t->dtype_text, quant_dtype_name(d));
        CU_ASSERT_EQUAL(quant_bank_read_f64(ctx, bank, 0, 0, 8, out),
                        quant_dtype_is_decoded(d) ? QUANT_OK : QUANT_EUNSUPPORTED);
        quant_bank_close(ctx, bank);
    }
    CU_ASSERT_FALSE(quant_dtype_find("GGML_BLOCK", &d));
    CU_ASSERT_FALSE(quant_dtype_find("F8", &d));
    quant_context_free(ctx);
}

static double half(unsigned h)
{
    int e = (int)(h >> 10 & 31);
    double m = h & 1023, v = e == 31  ? (m > 0 ? NAN : INFINITY)
                             : e == 0 ? ldexp(m, -24)
                                      : ldexp(m + 1024, e - 25);
    return h >> 15 ? -v : v;
}

static bool same_double(double a, double b)
{
    return (isnan(a) && isnan(b)) || memcmp(&a, &b, sizeof a) == 0;
}

/* All 2^16 patterns of both small types, at odd offsets. */
static void small_floats_are_exact(void)
{
    begin();
    enum { N = 65536 };
    bytes b = {NULL, 0, 0};
    const char *header =
        "{\"pad\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
        "\"h\":{\"dtype\":\"F16\",\"shape\":[256,256],\"data_offsets\":[1,131073]},"
        "\"b\":{\"dtype\":\"BF16\",\"shape\":[65536],\"data_offsets\":[131073,"
        "262145]}}";
    bytes_safetensors(&b, header, strlen(header), 1);
    for (unsigned i = 0; i < 2 * N; i++) {
        bytes_number(&b, i, 2);
    }
    quant_bank *bank = bytes_open(ctx, &b);
    double *x = malloc(N * sizeof *x), *y = malloc(N * sizeof *y);
    float *f = malloc(N * sizeof *f);
    CHECK_OK(ctx, quant_bank_read_f64(ctx, bank, index_of(bank, "h"), 0, N, x));
    CHECK_OK(ctx, quant_bank_read_f64(ctx, bank, index_of(bank, "b"), 0, N, y));
    CHECK_OK(ctx, quant_bank_read_f32(ctx, bank, index_of(bank, "h"), 0, N, f));
    int wrong = 0;
    for (unsigned i = 0; i < N; i++) {
        uint32_t bits = (uint32_t)i << 16;
        float want;
        memcpy(&want, &bits, 4);
        wrong += !same_double(x[i], half(i)) || !same_double(y[i], (double)want) ||
                 !same_double((double)f[i], half(i));
    }
    CU_ASSERT_EQUAL(wrong, 0);
    free(x);
    free(y);
    free(f);
    end(bank);
}

static void doubles_round_once_and_overflow_to_infinity(void)
{
    begin();
    const double in[] = {1.0 + 0x1p-24, 1.0 + 0x1.8p-23, 1e300, -1e300, 0x1p-150, -0.0, 0.1};
    unsigned char data[1 + sizeof in] = {7};
    memcpy(data + 1, in, sizeof in);
    quant_bank *bank = open_safetensors(
        "{\"o\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]},"
        "\"d\":{\"dtype\":\"F64\",\"shape\":[7],\"data_offsets\":[1,57]}}", data, sizeof data);
    const float want[] = {1.0f, 1.0f + 0x1p-22f, INFINITY, -INFINITY, 0.0f, -0.0f, 0.1f};
    float f[7];
    double d[7];
    CHECK_OK(ctx, quant_bank_read_f32(ctx, bank, 1, 0, 7, f));
    CHECK_OK(ctx, quant_bank_read_f64(ctx, bank, 1, 0, 7, d));
    CU_ASSERT_EQUAL(memcmp(f, want, sizeof f), 0);
    CU_ASSERT_EQUAL(memcmp(d, in, sizeof d), 0);
    unsigned char raw[3];
    CHECK_OK(ctx, quant_bank_read_raw(ctx, bank, 1, 54, 2, raw));
    CU_ASSERT_EQUAL(memcmp(raw, data + 55, 2), 0);
    CU_ASSERT_EQUAL(quant_bank_read_raw(ctx, bank, 1, 54, 3, raw), QUANT_EINVAL);
    CU_ASSERT_EQUAL(quant_bank_read_f32(ctx, bank, 1, 7, 1, f), QUANT_EINVAL);
    CU_ASSERT_EQUAL(quant_bank_read_f32(ctx, bank, 1, UINT64_MAX, 2, f), QUANT_EINVAL);
    CU_ASSERT_EQUAL(quant_bank_read_f32(ctx, bank, 2, 0, 0, f), QUANT_EINVAL);
    CU_ASSERT_EQUAL(quant_bank_read_f32(ctx, bank, 0, 0, 1, f), QUANT_EUNSUPPORTED);
    CHECK_OK(ctx, quant_bank_read_f32(ctx, bank, 1, 7, 0, f));
    CU_ASSERT_PTR_NULL(quant_bank_tensor(bank, 2));
    end(bank);
}

static void tensors_come_in_order_of_their_data(void)
{
    begin();
    static const unsigned char data[9] = {0, 1, 2, 3, 4, 5, 6, 7, 8};
    quant_bank *bank = open_safetensors(
        "{\"c\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[6,9]},"
        "\"z2\":{\"dtype\":\"F32\",\"shape\":[0,4],\"data_offsets\":[6,6]},"
        "\"a\":{\"dtype\":\"U8\",\"shape\":[6],\"data_offsets\":[0,6]},"
        "\"z1\":{\"dtype\":\"F64\",\"shape\":[0],\"data_offsets\":[6,6]},"
        "\"\\u0061\\n\\\"\\/\\\\\\ud83d\\ude00\":{\"dtype\":\"I8\",\"shape\":[1,0],"
        "\"data_offsets\":[9,9]},"
        "\"__metadata__\":{\"format\":\"pt\",\"\":\"\\t\"}}", data, sizeof data);
    static const char *const order[] = {"a", "z2", "z1", "c", "a\n\"/\\\xf0\x9f\x98\x80"};
    for (size_t i = 0; i < 5; i++) {
        CU_ASSERT_STRING_EQUAL(quant_bank_tensor(bank, i)->name, order[i]);
        CU_ASSERT_EQUAL(index_of(bank, order[i]), i);
    }
    unsigned char raw[3] = {0};
    CHECK_OK(ctx, quant_bank_read_raw(ctx, bank, 3, 0, 3, raw));
    CU_ASSERT_EQUAL(memcmp(raw, data + 6, 3), 0);
    CU_ASSERT_STRING_EQUAL(quant_bank_metadata(bank, "format"), "pt");
    CU_ASSERT_STRING_EQUAL(quant_bank_metadata(bank, ""), "\t");
    CU_ASSERT_PTR_NULL(quant_bank_metadata(bank, "forma"));
    size_t none = 77;
    CU_ASSERT_EQUAL(quant_bank_find(ctx, bank, "b", &none), QUANT_EFIELD);
    CU_ASSERT_EQUAL(none, 77);
    CU_ASSERT_PTR_NOT_NULL(strstr(quant_context_message(ctx), "\"b\""));
    end(bank);
}

/* ---- GGUF ------------------------------------------------------------ */

static void gguf_lists_what_it_does_not_decode(void)
{
    begin();
    bytes b = {NULL, 0, 0};
    bytes_assemble(&b,
                   "r:GGUF d:2 q:3 q:4 s:bin d:8 q:3 r:a b:0 r:b s:general.alignment d:4 d:64 "
                   "s:general.name d:8 s:tiny s:tokens d:9 d:8 q:2 s:a s:bb s:q d:3 q:512 q:3 q:2 "
                   "d:12 q:0 s:h d:2 q:3 q:2 d:1 q:1728 s:f d:1 q:2 d:0 q:1792 p:64 z:1728 "
                   "w:0x3c00 w:0xc000 w:1 w:0x7c00 w:0 w:0x3555 p:64 d:0x3f800000 d:0xbf000000");
    quant_bank *bank = bytes_open(ctx, &b);
    const quant_tensor *q = quant_bank_tensor(bank, 0);
    CU_ASSERT_EQUAL(q->dtype, QUANT_GGML_BLOCK);
    CU_ASSERT_STRING_EQUAL(q->dtype_text, "Q4_K");
    CU_ASSERT_EQUAL(q->bytes, 2 * 144 * 3 * 2);
    CU_ASSERT_EQUAL(q->elements, 512 * 6);
    CU_ASSERT(q->shape.rank == 3 && q->shape.dim[0] == 2 && q->shape.dim[1] == 3);
    CU_ASSERT_EQUAL(q->shape.dim[2], 512);
    double d[6];
    CU_ASSERT_EQUAL(quant_bank_read_f64(ctx, bank, 0, 0, 1, d), QUANT_EUNSUPPORTED);
    CU_ASSERT_PTR_NOT_NULL(strstr(quant_context_message(ctx), "Q4_K"));
    CHECK_OK(ctx, quant_bank_read_f64(ctx, bank, 1, 0, 6, d));
    CU_ASSERT(d[0] == 1 && d[1] == -2 && d[2] == 0x1p-24 && isinf(d[3]) && d[4] == 0);
    CHECK_OK(ctx, quant_bank_read_f64(ctx, bank, 2, 0, 2, d));
    CU_ASSERT(d[0] == 1 && d[1] == -0.5);
    CU_ASSERT_STRING_EQUAL(quant_bank_metadata(bank, "general.name"), "tiny");
    CU_ASSERT_PTR_NULL(quant_bank_metadata(bank, "tokens"));
    CU_ASSERT_PTR_NULL(quant_bank_metadata(bank, "bin")); /* not text: not kept, but noted */
    CU_ASSERT_PTR_NOT_NULL(strstr(quant_bank_note(bank, 0), "\"bin\""));
    CU_ASSERT_STRING_EQUAL(quant_bank_note(bank, 1), "no padding after the last tensor");
    CU_ASSERT_PTR_NULL(quant_bank_note(bank, 2));
    end(bank);
}

/* Its place is 20 bytes behind the end of a file that is not padded. */
static void an_empty_tensor_reads_as_nothing(void)
{
    begin();
    bytes b = {NULL, 0, 0};
    bytes_assemble(&b, "r:GGUF d:3 q:2 q:0 s:w d:1 q:3 d:0 q:0 s:v d:2 q:0 q:7 d:0 q:32 p:32 z:12");
    quant_bank *bank = bytes_open(ctx, &b);
    double none = 7;
    CHECK_OK(ctx, quant_bank_read_raw(ctx, bank, 1, 0, 0, &none));
    CHECK_OK(ctx, quant_bank_read_f64(ctx, bank, 1, 0, 0, &none));
    CU_ASSERT(none == 7 && quant_bank_tensor(bank, 1)->elements == 0);
    end(bank);
}

/* ---- shards and folders ------------------------------------------------------------ */

static const char *save_shard(const char *name, const char *header, size_t data)
{
    bytes b = {NULL, 0, 0};
    bytes_safetensors(&b, header, strlen(header), data);
    const char *path = bytes_save(&b, name);
    bytes_free(&b);
    return path;
}

static void shards_read_as_one_bank(void)
{
    begin();
    CU_ASSERT_EQUAL(mkdir(test_scratch_path("m"), 0700), 0);
    CU_ASSERT_EQUAL(mkdir(test_scratch_path("m/sub"), 0700), 0);
    save_shard("m/2.safetensors", "{\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
               "\"__metadata__\":{\"format\":\"pt\",\"k\":\"2\"}}", 2);
    save_shard("m/sub/1.safetensors",
               "{\"c\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]}"
               ",\"__metadata__\":{\"format\":\"pt\",\"k\":\"1\"}}",
               3);
    bytes_save_text("m/x.safetensors.index.json",
                    "{\"weight_map\":{\"c\":\"sub/1.safetensors\",\"b\":"
                    "\"2.safetensors\"},\"metadata\":{\"total_size\":6}}");
    quant_bank *bank = bytes_open_path(ctx, test_scratch_path("m"));
    CU_ASSERT_EQUAL(quant_bank_count(bank), 2);
    CU_ASSERT_STRING_EQUAL(quant_bank_tensor(bank, 0)->name, "b");
    CU_ASSERT_STRING_EQUAL(quant_bank_tensor(bank, 1)->name, "c");
    unsigned char raw[3] = {9, 9, 9};
    CHECK_OK(ctx, quant_bank_read_raw(ctx, bank, 1, 0, 3, raw));
    CU_ASSERT(raw[0] == 0 && raw[1] == 1 && raw[2] == 2);
    CU_ASSERT_STRING_EQUAL(quant_bank_metadata(bank, "format"), "pt");
    CU_ASSERT_STRING_EQUAL(quant_bank_metadata(bank, "k"), "2");
    CU_ASSERT_PTR_NOT_NULL(strstr(quant_bank_note(bank, 0), "total_size"));
    CU_ASSERT(quant_bank_file_bytes(bank) > 200);
    end(bank);
}

static void folders_hold_exactly_one_bank(void)
{
    begin();
    quant_bank *bank;
    CU_ASSERT_EQUAL(mkdir(test_scratch_path("f"), 0700), 0);
    CU_ASSERT_EQUAL(quant_bank_open(ctx, test_scratch_path("f"), &bank), QUANT_EIO);
    CU_ASSERT_PTR_NULL(bank);
    save_shard("f/a.safetensors", "{}", 0);
    bytes_save_text("f/config.json", "{}");
    bank = bytes_open_path(ctx, test_scratch_path("f/"));
    CU_ASSERT_EQUAL(quant_bank_count(bank), 0);
    quant_bank_close(ctx, bank);
    save_shard("f/b.safetensors", "{}", 0);
    CU_ASSERT_EQUAL(quant_bank_open(ctx, test_scratch_path("f"), &bank), QUANT_EINVAL);
    end(NULL);
}

/* ---- files that are none, or change ------------------------------------------------------------
 */

static void only_regular_files(void)
{
    begin();
    quant_bank *bank;
    const char *fifo = test_scratch_path("fifo");
    CU_ASSERT_EQUAL(mkfifo(fifo, 0600), 0);
    CU_ASSERT_EQUAL(quant_bank_open(ctx, fifo, &bank), QUANT_EIO); /* and does not wait */
    CU_ASSERT_PTR_NOT_NULL(strstr(quant_context_message(ctx), "FIFO"));
    CU_ASSERT_EQUAL(quant_bank_open(ctx, "/dev/null", &bank), QUANT_EIO);
    CU_ASSERT_EQUAL(quant_bank_open(ctx, test_scratch_path("absent"), &bank), QUANT_EIO);
    CU_ASSERT_PTR_NULL(bank);
    CU_ASSERT_EQUAL(quant_bank_open(ctx, NULL, &bank), QUANT_EINVAL);
    end(NULL);
}

static void a_change_while_reading_is_seen(void)
{
    static const char header[] = "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}";
    begin();
    float x[2];
    const char *path = save_shard("changing", header, 8);
    quant_bank *bank = bytes_open_path(ctx, path);
    CHECK_OK(ctx, quant_bank_unchanged(ctx, bank));
    CU_ASSERT_EQUAL(truncate(path, (off_t)sizeof header + 8 + 3), 0);
    CU_ASSERT_EQUAL(quant_bank_unchanged(ctx, bank), QUANT_EIO);
    CU_ASSERT_EQUAL(quant_bank_read_f32(ctx, bank, 0, 0, 2, x), QUANT_EIO);
    CU_ASSERT_PTR_NOT_NULL(strstr(quant_context_message(ctx), "shrank"));
    quant_bank_close(ctx, bank);

    bank = bytes_open_path(ctx, save_shard("changing", header, 8));
    CU_ASSERT_EQUAL(rename(save_shard("other", header, 8), path), 0);
    CU_ASSERT_EQUAL(quant_bank_unchanged(ctx, bank), QUANT_EIO);
    CHECK_OK(ctx, quant_bank_read_f32(ctx, bank, 0, 0, 2, x));
    quant_bank_close(ctx, bank);

    bank = bytes_open_path(ctx, path);
    struct timespec times[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
    CU_ASSERT_EQUAL(utimensat(-1, path, times, 0), 0);
    CU_ASSERT_EQUAL(quant_bank_unchanged(ctx, bank), QUANT_EIO);
    end(bank);
}

static void notes_say_what_was_let_pass(void)
{
    begin();
    quant_bank *bank = open_safetensors(" {}", "", 0);
    CU_ASSERT_STRING_EQUAL(quant_bank_note(bank, 0), "white space before the header's '{'");
    quant_bank_close(ctx, bank);
    bank = open_safetensors("{} ", "", 0);
    CU_ASSERT_PTR_NULL(quant_bank_note(bank, 0));
    end(bank);
}

TEST_SUITE(bank,
           {"every dtype has its size", every_dtype_has_its_size},
           {"all half floats are exact, at odd offsets", small_floats_are_exact},
           {"doubles round once; ranges are checked", doubles_round_once_and_overflow_to_infinity},
           {"tensors come in the order of their data", tensors_come_in_order_of_their_data},
           {"GGUF lists what it does not decode", gguf_lists_what_it_does_not_decode},
           {"an empty tensor reads as nothing", an_empty_tensor_reads_as_nothing},
           {"shards read as one bank", shards_read_as_one_bank},
           {"a folder holds exactly one bank", folders_hold_exactly_one_bank},
           {"only regular files are banks", only_regular_files},
           {"a change while reading is seen", a_change_while_reading_is_seen},
           {"notes say what was let pass", notes_say_what_was_let_pass})
