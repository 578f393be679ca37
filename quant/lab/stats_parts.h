/* SPDX-License-Identifier: GPL-3.0-or-later */
/* stats_parts.h - statistics while they are gathered, and what the files of stats share; not
 * installed. */
#ifndef QUANT_LAB_STATS_PARTS_H
#define QUANT_LAB_STATS_PARTS_H

#include "quant/lab/stats.h"

/* Arrays of a site with one piece for every unit (layer, or expert of a layer). */
typedef enum lab_field {
    LAB_ROWS,          /* U64 */
    LAB_LOWEST,        /* F32 [cols] */
    LAB_HIGHEST,       /* F32 [cols] */
    LAB_SUM,           /* F64 [cols] */
    LAB_SQUARE,        /* F64 [cols] */
    LAB_FOURTH,        /* F64 */
    LAB_BATCH_ROWS,    /* U64 [sequences] */
    LAB_BATCH_LOWEST,  /* F32 [sequences] */
    LAB_BATCH_HIGHEST, /* F32 [sequences] */
    LAB_SMALL,         /* U64 */
    LAB_FIRST,         /* U32 */
    LAB_COUNT,         /* U64 [2, QUANT_OBSERVER_BINS] */
    LAB_MOMENTS,       /* F64 [cols, cols]; only when recorded */
    LAB_FIELDS
} lab_field;

typedef struct lab_field_row {
    const char *name;
    quant_dtype dtype;
} lab_field_row;
extern const lab_field_row lab_fields[LAB_FIELDS];

typedef struct lab_site {
    uint64_t layers, experts; /* experts 1 where there are none; layers 0: no such site */
    size_t units, cols;       /* units = layers * experts */
    quant_observer **observer;      /* [units] */
    double *sum, *square, *fourth;  /* [units][cols], [units] */
    double *moments;                /* [units][cols][cols]; NULL: not in memory */
} lab_site;

struct quant_stats {
    quant_stats_info info;
    char *model, *scheme;     /* what info points to, of these sizes */
    size_t model_room, scheme_room;
    lab_site site[QUANT_SITE_COUNT];
    uint64_t *tokens;         /* [vocab] */
    quant_bank *bank;         /* the file; NULL while they are gathered anew */
    /* Called before rows of sequence `batch` (from 0 on) are added to a unit; NULL: nothing. */
    quant_status (*before)(void *user, const struct quant_stats *stats, quant_site site,
                           size_t unit, size_t batch);
    void *user;
};

/* Where unit u of a field begins and how many elements it has; bytes of one. */
void *lab_field_at(const lab_site *site, lab_field field, size_t unit);
size_t lab_field_elements(const quant_stats *stats, const lab_site *site, lab_field field);
size_t lab_field_size(lab_field field);
/* "ffn_input.square" */
#define LAB_ARRAY_NAME 64
void lab_array_name(quant_site site, lab_field field, char name[LAB_ARRAY_NAME]);
/* [layers], or [layers, experts], and the field's own axes. */
quant_shape lab_array_shape(const quant_stats *stats, quant_site site, lab_field field);

/* The lower triangle of m[n][n] becomes the upper one's image: moments are gathered above only. */
void lab_mirror(double *m, size_t n);

/* Memory, zeroed, for site sizes and info->vocab that are filled in; moments only when told. */
quant_status lab_stats_allocate(quant_context *ctx, quant_stats *stats, bool moments);
/* Copies for info.model and info.scheme. */
quant_status lab_stats_texts(quant_context *ctx, quant_stats *stats, const char *model,
                             const char *scheme);
/* "llama: 5 layers, ..." : what else than weights decides on the traces. */
#define LAB_MODEL_TEXT 512
void lab_model_text(const quant_model *model, char text[LAB_MODEL_TEXT]);

/* Empty statistics of a model; info is copied (its texts too). */
quant_status lab_stats_new(quant_context *ctx, const quant_model *model,
                           const quant_stats_info *info, quant_stats **stats);
/* What a stage shows, sequences of s positions (position 0 of the pass is position 0 of the
 * sequence). QUANT_ENONFINITE names layer, site, sequence (from `first` on), position. */
quant_status lab_stats_add(quant_context *ctx, quant_stats *stats, const quant_stage_view *view,
                           size_t s, size_t first);
/* Rows of one sequence at one unit, known to be finite. */
quant_status lab_stats_add_rows(quant_context *ctx, quant_stats *stats, quant_site site,
                                size_t unit, size_t batch, const float *x, size_t rows);
/* Stages of the pass that are inputs. */
uint32_t lab_stats_stages(void);
/* Sequences of s positions in one run: whole batches, about `wanted`, at most 256 MiB of stream. */
size_t lab_stats_piece(const quant_model *model, size_t s, uint64_t wanted);
/* All of it, whole or not at all. */
quant_status lab_stats_write(quant_context *ctx, const quant_stats *stats, const quant_model *model,
                             const char *path);
/* Do the numbers agree with one another? */
quant_status lab_stats_check(quant_context *ctx, const quant_stats *stats);
/* Bring the moments of an opened file into memory, so that more can be added. */
quant_status lab_stats_load_moments(quant_context *ctx, quant_stats *stats);

#endif
