/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tests/packed_matrix.h"

#include <stdlib.h>

#include "tests/test.h"

void packed_matrix_free(packed_matrix *m)
{
    free(m->packed);
    free(m->w);
    free(m->decoded);
    free(m->x);
    free(m->y);
    free(m->codes);
    free(m->scales);
}

packed_matrix packed_matrix_new(draw *d, quant_scheme scheme, size_t n, size_t k)
{
    packed_matrix m = {.scheme = scheme, .shape = {2, {n, k}}, .n = n, .k = k};
    m.w = malloc(n * k * sizeof *m.w + 1);
    m.decoded = malloc(n * k * sizeof *m.decoded + 1);
    m.x = malloc(k * sizeof *m.x + 1);
    m.y = malloc(n * sizeof *m.y + 1);
    m.codes = malloc(k + 1);
    m.scales = malloc((k + 1) * sizeof *m.scales);
    draw_weights(d, m.w, n, k);
    m.packed = encode_new(NULL, &m.scheme, &m.shape, m.w, &m.layout, NULL);
    if (m.packed) {
        CHECK_OK(NULL, quant_decode(NULL, &m.scheme, &m.shape, m.packed, m.layout.bytes,
                                    m.decoded));
    }
    for (size_t i = 0; i < k; i++) {
        m.x[i] = (float)draw_normal(d);
        m.codes[i] = (int8_t)draw_int(d, -128, 127);
        m.scales[i] = (float)(draw_normal(d) * 0.01);
    }
    m.scales[k] = 1.0f;
    return m;
}

quant_scheme packed_matrix_scheme(const char *text)
{
    quant_scheme s;
    CHECK_OK(NULL, quant_scheme_parse(NULL, text, &s));
    return s;
}

const char *packed_matrix_own(size_t i)
{
    static const char *const own[] = {
        "int4:block=32", "int4:block=64", "int4:block=96", "int4:block=4096", "lut4:group=32",
        "lut4:tensor", "lut4:group=5", "lut4:group=32,lut=int8", "int4:block=32,range=full",
        "lut4:tensor,lut=f32", "lut4:group=7,lut=int8,store=f32", "lut4:group=8,pcs",
        "lut4:group=32,pcs,lut=int8", "w4a8", "w8a8", "lut4:group=32,dim=2"};
    return i < sizeof own / sizeof *own ? own[i] : NULL;
}

double packed_matrix_fold(double lane[MATRIX_LANES], bool single)
{
    for (int h = MATRIX_LANES / 2; h > 0; h /= 2) {
        for (int j = 0; j < h; j++) {
            lane[j] = single ? (double)((float)lane[j] + (float)lane[j + h])
                             : lane[j] + lane[j + h];
        }
    }
    return lane[0];
}
