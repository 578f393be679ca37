/* SPDX-License-Identifier: GPL-3.0-or-later */
/* config.h - reading one value of a configuration, of either kind; not installed. */
#ifndef QUANT_MODEL_CONFIG_H
#define QUANT_MODEL_CONFIG_H

#include "quant/bank/json.h"
#include "quant/model/arch.h"

typedef struct model_settings {
    quant_context *ctx;
    quant_model *model;
    const json_t *json; /* the object that holds the sizes; NULL: a GGUF */
    const json_t *root; /* all of config.json */
} model_settings;

quant_metadata model_json_value(const json_t *j);
/* A value by its key in config.json (else what the architecture fills in) or behind "ARCH." in a
 * GGUF; ABSENT covers null and empty arrays. text belongs to the source. */
quant_metadata model_setting(const model_settings *s, const char *json, const char *gguf);

/* The key as messages name it. */
const char *model_setting_name(const model_settings *s, const char *json, const char *gguf);

/* refused.c: QUANT_EUNSUPPORTED with the key that the forward pass does not know; also the
 * activation, and what is only read for another architecture. */
quant_status model_config_refused(const model_settings *s);
quant_status model_config_understood(const model_settings *s);

/* rope.c: model->rope, from rope_parameters (flat, or one object a kind of layer), or from
 * rope_theta, rope_local_base_freq and rope_scaling. sizes have been read. */
quant_status model_rope_read(const model_settings *s);

#endif
