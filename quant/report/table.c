/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "quant/report/table.h"

#include <string.h>

#include "quant/internal.h"
#include "quant/report/text.h"

/* No column is wider than half the page, so that a key and any one column always fit. */
enum { GAP = 2, WIDEST = (QUANT_TABLE_WIDTH - GAP) / 2, CELL_BYTES = 1024 };

struct quant_table {
    quant_context *ctx;
    size_t columns, rows, filled; /* filled counts cells */
    bool failed;
    quant_column *column;
    int *natural, *width; /* per column: wanted, and in the block being printed */
    char **cell;          /* rows x columns */
};

static char *copy_text(quant_table *t, const char *text)
{
    size_t bytes = strlen(text) + 1;
    char *copy = quant_alloc(t->ctx, bytes, 1);
    if (copy) {
        memcpy(copy, text, bytes);
    } else {
        t->failed = true;
    }
    return copy;
}

static void free_text(quant_table *t, const char *text)
{
    if (text) {
        quant_release(t->ctx, (void *)(uintptr_t)text, strlen(text) + 1, 1);
    }
}

static int max_int(int a, int b)
{
    return a > b ? a : b;
}

static int min_int(int a, int b)
{
    return a < b ? a : b;
}

/* Line i of a heading into out; false when it has fewer lines. */
static bool heading_line(const char *heading, int i, char *out, size_t capacity)
{
    for (; i > 0; i--) {
        heading = strchr(heading, '\n');
        if (!heading) {
            return false;
        }
        heading++;
    }
    snprintf(out, capacity, "%.*s", (int)strcspn(heading, "\n"), heading);
    return true;
}

static int heading_lines(const char *heading)
{
    int lines = 1;
    for (; (heading = strchr(heading, '\n')); heading++) {
        lines++;
    }
    return lines;
}

static void widen(quant_table *t, size_t column, const char *text)
{
    int limit = column > 0 && t->column[column].shrink_to ? QUANT_TABLE_WIDTH : WIDEST;
    t->natural[column] = min_int(limit, max_int(t->natural[column], quant_text_width(text)));
}

quant_table *quant_table_new(quant_context *ctx, const quant_column *columns, size_t count,
                             size_t rows)
{
    quant_table *t = quant_alloc(ctx, 1, sizeof *t);
    if (!t) {
        return NULL;
    }
    *t = (quant_table){.ctx = ctx, .columns = count, .rows = rows};
    t->column = quant_alloc(ctx, count, sizeof *t->column);
    t->natural = quant_alloc(ctx, 2 * count, sizeof *t->natural);
    size_t cells;
    bool fits = !__builtin_mul_overflow(rows, count, &cells);
    t->cell = fits ? quant_alloc(ctx, cells, sizeof *t->cell) : NULL;
    for (size_t i = 0; t->column && i < count; i++) {
        t->column[i] = (quant_column){.heading = NULL};
    }
    if (!t->column || !t->natural || !t->cell) {
        quant_table_free(t);
        return NULL;
    }
    t->width = t->natural + count;
    for (size_t i = 0; i < count; i++) {
        char line[CELL_BYTES];
        t->column[i] = columns[i];
        t->column[i].heading = copy_text(t, columns[i].heading);
        t->natural[i] = 0;
        for (int k = 0; heading_line(columns[i].heading, k, line, sizeof line); k++) {
            widen(t, i, line);
        }
    }
    return t;
}

void quant_table_free(quant_table *t)
{
    if (!t) {
        return;
    }
    for (size_t i = 0; i < t->filled; i++) {
        free_text(t, t->cell[i]);
    }
    for (size_t i = 0; t->column && i < t->columns; i++) {
        free_text(t, t->column[i].heading);
    }
    quant_release(t->ctx, t->cell, t->rows * t->columns, sizeof *t->cell);
    quant_release(t->ctx, t->natural, 2 * t->columns, sizeof *t->natural);
    quant_release(t->ctx, t->column, t->columns, sizeof *t->column);
    quant_release(t->ctx, t, 1, sizeof *t);
}

void quant_table_add(quant_table *t, const char *text)
{
    if (t->filled < t->rows * t->columns) {
        widen(t, t->filled % t->columns, text);
        t->cell[t->filled] = copy_text(t, text);
        t->filled += t->cell[t->filled] != NULL;
    } else {
        t->failed = true;
    }
}

static int least_width(const quant_table *t, size_t column)
{
    int shrink = t->column[column].shrink_to;
    int natural = t->natural[column];
    return column == 0 ? min_int(natural, shrink ? shrink : WIDEST)
                       : shrink ? min_int(natural, shrink) : natural;
}

/* Columns [first, returned) share a block with the key; their widths are set. */
static size_t lay_out_block(const quant_table *t, size_t first)
{
    int used = t->width[0] = least_width(t, 0);
    size_t end = first;
    while (end < t->columns &&
           (end == first || used + GAP + least_width(t, end) <= QUANT_TABLE_WIDTH)) {
        t->width[end] = least_width(t, end);
        used += GAP + t->width[end++];
    }
    for (size_t i = 0; i < end; i = i == 0 ? first : i + 1) { /* hand out what is left */
        int more = min_int(t->natural[i] - t->width[i], QUANT_TABLE_WIDTH - used);
        t->width[i] += max_int(more, 0);
        used += max_int(more, 0);
    }
    return end;
}

static void print_cell(const quant_table *t, FILE *to, size_t column, const char *text, int *owed)
{
    char shown[CELL_BYTES];
    int used = quant_text_fit(text, t->width[column], shown, sizeof shown);
    int pad = t->width[column] - used;
    bool left = t->column[column].left;
    if (shown[0]) {
        fprintf(to, "%*s%s", *owed + (left ? 0 : pad), "", shown);
        *owed = left ? pad : 0;
    } else {
        *owed += t->width[column];
    }
    *owed += GAP; /* blanks are written when something follows: no line ends in a blank */
}

static void print_headings(const quant_table *t, FILE *to, size_t first, size_t end)
{
    int lines = 1, rule = -GAP;
    for (size_t i = 0; i < end; i = i == 0 ? first : i + 1) {
        lines = max_int(lines, heading_lines(t->column[i].heading));
        rule += GAP + t->width[i];
    }
    for (int k = 0; k < lines; k++) {
        int owed = 0;
        for (size_t i = 0; i < end; i = i == 0 ? first : i + 1) {
            char line[CELL_BYTES] = "";
            int own = k - (lines - heading_lines(t->column[i].heading)); /* bottom aligned */
            if (own >= 0) {
                heading_line(t->column[i].heading, own, line, sizeof line);
            }
            print_cell(t, to, i, line, &owed);
        }
        putc('\n', to);
    }
    for (int i = 0; i < rule; i++) {
        fputs("─", to);
    }
    putc('\n', to);
}

quant_status quant_table_print(const quant_table *t, FILE *to)
{
    if (t->failed) {
        return quant_fail(t->ctx, QUANT_ENOMEM, "table: not enough memory for its cells");
    }
    size_t first = 1;
    do {
        size_t end = t->columns > 1 ? lay_out_block(t, first) : 1;
        if (t->columns == 1) {
            t->width[0] = t->natural[0];
        }
        fputs(first > 1 ? "\n" : "", to);
        print_headings(t, to, first, end);
        for (size_t row = 0; row < t->filled / t->columns; row++) {
            int owed = 0;
            for (size_t i = 0; i < end; i = i == 0 ? first : i + 1) {
                print_cell(t, to, i, t->cell[row * t->columns + i], &owed);
            }
            putc('\n', to);
        }
        first = end;
    } while (first < t->columns);
    return QUANT_OK;
}
