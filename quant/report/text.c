/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "quant/report/text.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

/* One character of the input and how it is shown. */
typedef struct glyph {
    size_t bytes;   /* consumed, >= 1 */
    int columns;
    char shown[12]; /* NUL-terminated */
} glyph;

typedef struct span {
    uint32_t first, last;
} span;

static const span combining[] = {
    {0x0300, 0x036f}, {0x0483, 0x0489}, {0x0591, 0x05bd}, {0x0610, 0x061a}, {0x064b, 0x065f},
    {0x0e31, 0x0e31}, {0x0e34, 0x0e3a}, {0x1ab0, 0x1aff}, {0x1dc0, 0x1dff}, {0x20d0, 0x20ff},
    {0xfe00, 0xfe0f}, {0xfe20, 0xfe2f},
};
static const span wide[] = {
    {0x1100, 0x115f}, {0x2e80, 0x303e}, {0x3041, 0xa4cf}, {0xa960, 0xa97f}, {0xac00, 0xd7a3},
    {0xf900, 0xfaff}, {0xfe30, 0xfe6f}, {0xff00, 0xff60}, {0xffe0, 0xffe6}, {0x1f300, 0x1f64f},
    {0x1f680, 0x1f6ff}, {0x1f900, 0x1f9ff}, {0x20000, 0x3fffd},
};
/* C1 controls, invisible characters, line separators, marks and overrides of direction. */
static const span hidden[] = {
    {0x0080, 0x009f}, {0x00ad, 0x00ad}, {0x061c, 0x061c}, {0x200b, 0x200f},
    {0x2028, 0x202e}, {0x2060, 0x2069}, {0xfeff, 0xfeff}, {0xe0000, 0xe007f},
};
#define WITHIN(c, spans) within(c, spans, sizeof(spans) / sizeof *(spans))

static bool within(uint32_t c, const span *spans, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (c >= spans[i].first && c <= spans[i].last) {
            return true;
        }
    }
    return false;
}

/* Bytes of the UTF-8 sequence at s and its code point; 0 when it is not valid. */
static size_t decode(const unsigned char *s, uint32_t *c)
{
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    size_t n = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    n = s[0] < 0xf5 ? n : 0;
    *c = n < 2 ? s[0] : s[0] & (0xffu >> (n + 1));
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80) {
            return 0;
        }
        *c = *c << 6 | (s[i] & 0x3fu);
    }
    bool valid = n > 0 && *c >= least[n] && *c <= 0x10ffff && (*c < 0xd800 || *c > 0xdfff);
    return valid ? n : 0;
}

static glyph next_glyph(const char *s)
{
    glyph g = {1, 4, ""};
    uint32_t c;
    size_t n = decode((const unsigned char *)s, &c);
    if (n == 0 || c < 0x20 || c == 0x7f) {
        snprintf(g.shown, sizeof g.shown, "\\x%02x", (unsigned char)*s);
        return g;
    }
    g.bytes = n;
    if (WITHIN(c, hidden)) {
        g.columns = snprintf(g.shown, sizeof g.shown, "\\u%04" PRIx32, c);
        return g;
    }
    memcpy(g.shown, s, n);
    g.shown[n] = '\0';
    g.columns = c < 0x300 ? 1 : WITHIN(c, combining) ? 0 : WITHIN(c, wide) ? 2 : 1;
    return g;
}

int quant_text_width(const char *s)
{
    int width = 0;
    for (size_t i = 0; s[i];) {
        glyph g = next_glyph(s + i);
        width = width < 1000000 ? width + g.columns : width;
        i += g.bytes;
    }
    return width;
}

/* Append the glyphs of s[from..) while they fit `columns` and the buffer; returns columns used. */
static int append(const char *s, size_t from, int columns, char *out, size_t capacity)
{
    size_t at = strlen(out);
    int used = 0;
    for (size_t i = from; s[i];) {
        glyph g = next_glyph(s + i);
        size_t n = strlen(g.shown);
        if (used + g.columns > columns || at + n + 1 > capacity) {
            break;
        }
        memcpy(out + at, g.shown, n + 1);
        at += n;
        used += g.columns;
        i += g.bytes;
    }
    return used;
}

/* First byte of the longest tail of s that fits `columns`: skip whole glyphs until it does. */
static size_t tail_of(const char *s, int width, int columns)
{
    size_t i = 0;
    while (s[i] && width > columns) {
        glyph g = next_glyph(s + i);
        width -= g.columns;
        i += g.bytes;
    }
    while (s[i] && next_glyph(s + i).columns == 0) { /* a mark without its letter */
        i += next_glyph(s + i).bytes;
    }
    return i;
}

int quant_text_fit(const char *s, int columns, char *out, size_t capacity)
{
    static const char dots[] = "…";
    int width = quant_text_width(s);
    out[0] = '\0';
    if (width <= columns) {
        return append(s, 0, columns, out, capacity);
    }
    int head = (columns - 1) / 2, tail = columns - 1 - head;
    int used = append(s, 0, head, out, capacity / 2);
    if (strlen(out) + sizeof dots <= capacity) {
        strcat(out, dots);
        used++;
    }
    return used + append(s, tail_of(s, width, tail), tail, out, capacity);
}

void quant_text_bytes(uint64_t bytes, char out[QUANT_TEXT_NUMBER])
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 999.5 && unit + 1 < sizeof units / sizeof *units) {
        value /= 1000.0;
        unit++;
    }
    int decimals = unit == 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
    snprintf(out, QUANT_TEXT_NUMBER, "%.*f %s", decimals, value, units[unit]);
}

void quant_text_count(uint64_t count, char out[QUANT_TEXT_NUMBER])
{
    char digits[24];
    size_t n = (size_t)snprintf(digits, sizeof digits, "%" PRIu64, count), to = 0;
    for (size_t i = 0; i < n; i++) {
        if (i > 0 && (n - i) % 3 == 0) {
            out[to++] = ' ';
        }
        out[to++] = digits[i];
    }
    out[to] = '\0';
}

static void put(const char *text, char out[QUANT_TEXT_NUMBER])
{
    snprintf(out, QUANT_TEXT_NUMBER, "%s", text);
}

/* A figure that rounds to zero has no sign. */
static void put_fixed(double value, int decimals, char out[QUANT_TEXT_NUMBER])
{
    snprintf(out, QUANT_TEXT_NUMBER, "%.*f", decimals, value);
    if (out[0] == '-' && strspn(out, "-0.") == strlen(out)) {
        memmove(out, out + 1, strlen(out));
    }
}

void quant_text_cosine(double cosine, char out[QUANT_TEXT_NUMBER])
{
    if (isnan(cosine)) {
        put("-", out);
    } else if (cosine < 1.0 && cosine > 0.999999) {
        put("0.999999", out);
    } else if (cosine > -1.0 && cosine < -0.999999) {
        put("-0.999999", out);
    } else {
        put_fixed(cosine, 6, out);
    }
}

void quant_text_decibel(double decibel, char out[QUANT_TEXT_NUMBER])
{
    if (isnan(decibel)) {
        put("-", out);
    } else if (isinf(decibel)) {
        put(decibel > 0 ? "exact" : "-inf", out);
    } else {
        put_fixed(decibel, 2, out);
    }
}

void quant_text_bits(double bits, char out[QUANT_TEXT_NUMBER])
{
    snprintf(out, QUANT_TEXT_NUMBER, "%.2f", bits);
}

void quant_text_real(double value, char out[QUANT_TEXT_NUMBER])
{
    if (isnan(value)) {
        put("-", out);
    } else {
        snprintf(out, QUANT_TEXT_NUMBER, "%.3g", value);
    }
}

void quant_text_percent(double share, char out[QUANT_TEXT_NUMBER])
{
    if (isnan(share)) {
        put("-", out);
        return;
    }
    put_fixed(100 * share, 1, out);
    strncat(out, " %", QUANT_TEXT_NUMBER - 1 - strlen(out));
}

void quant_text_against(double value, double threshold, char out[QUANT_TEXT_NUMBER])
{
    char other[QUANT_TEXT_NUMBER];
    quant_text_real(value, out);
    for (int digits = 6; digits <= 17 && isfinite(value); digits++) {
        snprintf(out, QUANT_TEXT_NUMBER, "%.*g", digits, value);
        snprintf(other, sizeof other, "%.*g", digits, threshold);
        if (strcmp(out, other) != 0 || value == threshold) {
            break;
        }
    }
}

void quant_text_metric(const quant_metric *metric, double value, char out[QUANT_TEXT_NUMBER])
{
    if (strcmp(metric->name, "cosine") == 0) {
        quant_text_cosine(value, out);
    } else if (strcmp(metric->name, "sqnr_db") == 0) {
        quant_text_decibel(value, out);
    } else {
        quant_text_real(value, out);
    }
}

void quant_text_shape(const quant_shape *shape, char *out, size_t capacity)
{
    size_t at = 0;
    snprintf(out, capacity, "%s", shape->rank == 0 ? "scalar" : "");
    for (int i = 0; i < shape->rank && at < capacity; i++) {
        at += (size_t)snprintf(out + at, capacity - at, "%s%" PRIu64, i ? "x" : "", shape->dim[i]);
    }
}

void quant_text_wrap(const char *text, int columns, FILE *to)
{
    int used = 0;
    for (const char *p = text + strspn(text, " "); *p; p += strspn(p, " ")) {
        char word[512], shown[512];
        size_t n = strcspn(p, " ");
        snprintf(word, sizeof word, "%.*s", (int)n, p);
        int width = quant_text_fit(word, columns - 2, shown, sizeof shown);
        bool breaks = used > 0 && used + 1 + width > columns;
        fprintf(to, "%s%s", breaks ? "\n  " : used > 0 ? " " : "", shown);
        used = breaks ? 2 + width : used + (used > 0) + width;
        p += n;
    }
    putc('\n', to);
}

void quant_text_base(const char *path, char *out, size_t capacity)
{
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/') {
        end--;
    }
    size_t start = end;
    while (start > 0 && path[start - 1] != '/') {
        start--;
    }
    if (start == end) {
        start = 0;
    }
    snprintf(out, capacity, "%.*s", (int)(end - start), path + start);
}
