/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "quant/bank/source.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "quant/internal.h"

static const char *kind_of(mode_t mode)
{
    return S_ISDIR(mode)    ? "a folder"
           : S_ISFIFO(mode) ? "a FIFO"
           : S_ISSOCK(mode) ? "a socket"
           : S_ISCHR(mode)  ? "a character device"
           : S_ISBLK(mode)  ? "a block device"
                            : "something else";
}

/* O_NONBLOCK keeps the open of a FIFO from waiting; on a regular file it has no effect. */
static quant_status open_regular(quant_context *ctx, const char *path, struct stat *st, int *fd)
{
    int f;
    do {
        f = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    } while (f < 0 && errno == EINTR);
    if (f < 0) {
        return quant_fail(ctx, QUANT_EIO, "%s: cannot be opened: %s", path, strerror(errno));
    }
    if (fstat(f, st) != 0 || !S_ISREG(st->st_mode)) {
        close(f);
        return quant_fail(ctx, QUANT_EIO, "%s: expected a regular file, found %s", path,
                          kind_of(st->st_mode));
    }
    *fd = f;
    return QUANT_OK;
}

quant_status quant_source_open(quant_context *ctx, const char *path, quant_source *source)
{
    struct stat st = {0};
    quant_source s = {.fd = -1};
    QUANT_TRY(open_regular(ctx, path, &st, &s.fd));
    s.path_bytes = strlen(path) + 1;
    s.path = quant_alloc(ctx, s.path_bytes, 1);
    if (!s.path) {
        close(s.fd);
        return QUANT_ENOMEM;
    }
    memcpy(s.path, path, s.path_bytes);
    s.size = (uint64_t)st.st_size;
    s.device = st.st_dev;
    s.inode = st.st_ino;
    s.changed = st.st_mtim;
    *source = s;
    return QUANT_OK;
}

void quant_source_close(quant_context *ctx, quant_source *source)
{
    if (source->path) {
        close(source->fd);
        quant_release(ctx, source->path, source->path_bytes, 1);
        source->path = NULL;
    }
}

quant_status quant_source_read(quant_context *ctx, const quant_source *source, uint64_t offset,
                               void *out, size_t count)
{
    enum { PIECE = 1 << 30 }; /* Linux moves at most 0x7ffff000 bytes a call */
    if (count == 0) {
        return QUANT_OK; /* an empty tensor may lie behind an unpadded end */
    }
    if (offset > source->size || count > source->size - offset) {
        return quant_fail(ctx, QUANT_ETRUNC,
                          "offset %" PRIu64 ": expected %zu more bytes, found %" PRIu64, offset,
                          count, offset > source->size ? 0 : source->size - offset);
    }
    unsigned char *to = out;
    while (count > 0) {
        size_t want = count < PIECE ? count : PIECE;
        ssize_t got = pread(source->fd, to, want, (off_t)offset);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return quant_fail(ctx, QUANT_EIO, "offset %" PRIu64 ": cannot be read: %s", offset,
                              strerror(errno));
        }
        if (got == 0) {
            return quant_fail(ctx, QUANT_EIO, "offset %" PRIu64 ": the file shrank while being "
                              "read: expected %" PRIu64 " bytes in all", offset, source->size);
        }
        to += got;
        offset += (uint64_t)got;
        count -= (size_t)got;
    }
    return QUANT_OK;
}

/* The open file tells whether its bytes moved; the path tells whether it now names another. */
quant_status quant_source_unchanged(quant_context *ctx, const quant_source *source)
{
    struct stat now, named;
    if (fstat(source->fd, &now) != 0 || stat(source->path, &named) != 0) {
        return quant_fail(ctx, QUANT_EIO, "%s: changed while being read: %s", source->path,
                          strerror(errno));
    }
    if ((uint64_t)now.st_size != source->size) {
        return quant_fail(ctx, QUANT_EIO, "%s: changed while being read: expected %" PRIu64
                          " bytes, found %" PRIu64, source->path, source->size,
                          (uint64_t)now.st_size);
    }
    if (now.st_mtim.tv_sec != source->changed.tv_sec ||
        now.st_mtim.tv_nsec != source->changed.tv_nsec) {
        return quant_fail(ctx, QUANT_EIO, "%s: changed while being read: its time of modification "
                          "differs", source->path);
    }
    if (named.st_ino != source->inode || named.st_dev != source->device) {
        return quant_fail(ctx, QUANT_EIO, "%s: changed while being read: the name belongs to "
                          "another file now", source->path);
    }
    return QUANT_OK;
}

static const struct accident {
    const char *start;
    size_t bytes;
    const char *what;
} accidents[] = {
    {"version https://git-lfs", 23, "a Git LFS pointer, not the file it stands for (git lfs pull)"},
    {"<!doctype html", 14, "a web page (a download that went wrong)"},
    {"<html", 5, "a web page (a download that went wrong)"},
    {"<?xml", 5, "an XML document"},
    {"\x1f\x8b", 2, "gzip data (unpack it first)"},
    {"\x28\xb5\x2f\xfd", 4, "zstd data (unpack it first)"},
    {"BZh", 3, "bzip2 data (unpack it first)"},
    {"\xfd" "7zXZ", 5, "xz data (unpack it first)"},
    {"\x89HDF\r\n\x1a\n", 8, "an HDF5 file"},
    {"\x7f" "ELF", 4, "a program"},
    {"%PDF-", 5, "a PDF document"},
    {"ggml", 4, "a model in a format older than GGUF"},
    {"lmgg", 4, "a model in a format older than GGUF"},
    {"tjgg", 4, "a model in a format older than GGUF"},
};

const char *quant_source_accident(const unsigned char *head, size_t bytes)
{
    size_t skip = 0;
    while (skip < bytes && skip < 8 && strchr("\r\n\t ", head[skip]) && head[skip]) {
        skip++;
    }
    for (size_t i = 0; i < sizeof accidents / sizeof *accidents; i++) {
        const struct accident *a = &accidents[i];
        size_t at = a->start[0] == '<' ? skip : 0;
        if (bytes - at >= a->bytes &&
            strncasecmp((const char *)head + at, a->start, a->bytes) == 0) {
            return a->what;
        }
    }
    return NULL;
}
