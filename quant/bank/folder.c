/* SPDX-License-Identifier: GPL-3.0-or-later */
/* folder.c - a folder stands for the one bank in it. */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "quant/bank/reader.h"

typedef struct found {
    char name[NAME_MAX + 1];
    size_t count;
} found;

static bool ends_with(const char *name, const char *suffix)
{
    size_t n = strlen(name), m = strlen(suffix);
    return n > m && strcmp(name + n - m, suffix) == 0;
}

static void note(found *f, const char *name)
{
    if (f->count++ == 0) {
        snprintf(f->name, sizeof f->name, "%s", name);
    }
}

static quant_status look(quant_context *ctx, const char *path, found *index, found *single)
{
    DIR *folder = opendir(path);
    if (!folder) {
        return quant_fail(ctx, QUANT_EIO, "%s: cannot be opened: %s", path, strerror(errno));
    }
    for (struct dirent *e; (e = readdir(folder)) != NULL;) {
        if (ends_with(e->d_name, ".safetensors.index.json")) {
            note(index, e->d_name);
        } else if (ends_with(e->d_name, ".safetensors")) {
            note(single, e->d_name);
        }
    }
    closedir(folder);
    return QUANT_OK;
}

/* One index speaks for all shards beside it; without an index there must be one file. */
quant_status quant_folder_choose(quant_context *ctx, const char *path, char *chosen, size_t room)
{
    found index = {"", 0}, single = {"", 0};
    QUANT_TRY(look(ctx, path, &index, &single));
    const found *one = index.count ? &index : &single;
    if (one->count != 1) {
        return quant_fail(ctx, one->count ? QUANT_EINVAL : QUANT_EIO,
                          "%s: folder: expected exactly "
                          "one %s, found %zu",
                          path,
                          index.count ? "*.safetensors.index.json"
                                      : "*.safetensors or *.safetensors.index.json",
                          one->count);
    }
    size_t n = strlen(path);
    const char *slash = n && path[n - 1] == '/' ? "" : "/";
    int written = snprintf(chosen, room, "%s%s%s", path, slash, one->name);
    return written > 0 && (size_t)written < room
               ? QUANT_OK
               : quant_fail(ctx, QUANT_EIO, "%.100s...: path longer than %zu bytes", path, room);
}
