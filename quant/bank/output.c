/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "quant/bank/output.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "quant/bank/output_sweep.h"
#include "quant/internal.h"

enum {
    GUARDS = 16,            /* temporary files that the signal handler can know at once */
    MOST_WRITTEN = 0x7ffff000, /* what Linux moves in one call at most */
    MOST_INTERRUPTIONS = 1000  /* in a row; then EINTR is an error like any other */
};

struct quant_output {
    int fd, folder;         /* -1: not open */
    struct guard *guard;    /* non-NULL while the temporary file exists */
    uint64_t reserved, end; /* announced size; highest byte written + 1 */
    int failed;             /* errno of a write that failed; nothing is published then */
    mode_t mode;
    char name[NAME_MAX + 1], temp[NAME_MAX + 1];
    char shown[512];        /* the caller's path, for messages */
};

/* What the signal handler reads. owner is 0 while free; it is set last and cleared first, and a
 * child that was forked in between has another pid, so it never removes its parent's file. */
typedef struct guard {
    _Atomic(pid_t) owner;
    int folder;
    char temp[NAME_MAX + 1];
} guard;

static guard guards[GUARDS];
/* Held over create + flock + claim, and over a sweep: no sweep of this process can take a file for
 * stale in the moment between its creation and its lock. Also over reading the umask. */
static pthread_mutex_t temp_lock = PTHREAD_MUTEX_INITIALIZER;

static const int guarded_signals[] = {SIGINT, SIGTERM, SIGHUP, SIGXFSZ, SIGPIPE};
enum { GUARDED_SIGNALS = sizeof guarded_signals / sizeof *guarded_signals };

static void on_signal(int number)
{
    pid_t self = getpid();
    for (int i = 0; i < GUARDS; i++) {
        if (atomic_load(&guards[i].owner) == self) {
            unlinkat(guards[i].folder, guards[i].temp, 0);
        }
    }
    _exit(128 + number);
}

static void signal_set(sigset_t *set)
{
    sigemptyset(set);
    for (int i = 0; i < GUARDED_SIGNALS; i++) {
        sigaddset(set, guarded_signals[i]);
    }
}

void quant_output_guard_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal}, old;
    signal_set(&action.sa_mask);
    for (int i = 0; i < GUARDED_SIGNALS; i++) {
        if (sigaction(guarded_signals[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN) {
            sigaction(guarded_signals[i], &action, NULL);
        }
    }
}

static quant_status fail_io(quant_context *ctx, const quant_output *o, const char *what, int error)
{
    char text[128];
    return quant_fail(ctx, QUANT_EIO, "%s: cannot %s: %s", o->shown, what,
                      strerror_r(error, text, sizeof text));
}

/* ---- open ----------------------------------------------------------------------------------- */

static const char *kind_of(mode_t mode)
{
    return S_ISDIR(mode) ? "a folder" : S_ISFIFO(mode) ? "a FIFO" : S_ISSOCK(mode) ? "a socket"
         : S_ISLNK(mode) ? "a link" : "a device";
}

static quant_status refuse(quant_context *ctx, const quant_output *o, const char *found)
{
    return quant_fail(ctx, QUANT_EIO,
                      "%s: output: expected a regular file or a free name, found %s", o->shown,
                      found);
}

/* The folder and the name in it. real[PATH_MAX] receives a path through a link. */
static quant_status split_path(quant_context *ctx, quant_output *o, const char *path, char *real)
{
    struct stat st;
    if (lstat(path, &st) == 0 && S_ISLNK(st.st_mode)) {
        if (!realpath(path, real)) {
            return refuse(ctx, o, "a link that leads nowhere");
        }
        path = real;
    }
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    size_t length = strlen(name), before = (size_t)(name - path);
    if (length == 0 || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
        return refuse(ctx, o, path[0] ? "a folder" : "an empty path");
    }
    if (length > NAME_MAX || before >= PATH_MAX) {
        return fail_io(ctx, o, "create it", ENAMETOOLONG);
    }
    memcpy(o->name, name, length + 1);
    memmove(real, path, before);
    memcpy(real + before, before ? "" : ".", before ? 1 : 2);
    for (int i = 0; i < MOST_INTERRUPTIONS && (i == 0 || (o->folder < 0 && errno == EINTR)); i++) {
        o->folder = open(real, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }
    return o->folder < 0 ? fail_io(ctx, o, "open its folder", errno) : QUANT_OK;
}

/* 0666 less the umask, which can only be read by setting it; 077 for that moment errs on the
 * strict side for other threads that create files. */
static mode_t default_mode(void)
{
    pthread_mutex_lock(&temp_lock);
    mode_t mask = umask(077);
    umask(mask);
    pthread_mutex_unlock(&temp_lock);
    return 0666 & ~mask;
}

static quant_status look_at_target(quant_context *ctx, quant_output *o)
{
    struct stat st;
    if (fstatat(o->folder, o->name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
        if (errno != ENOENT) {
            return fail_io(ctx, o, "look at it", errno);
        }
        o->mode = default_mode();
        return QUANT_OK;
    }
    if (!S_ISREG(st.st_mode)) {
        return refuse(ctx, o, kind_of(st.st_mode));
    }
    o->mode = st.st_mode & 0777;
    if (faccessat(o->folder, o->name, W_OK, AT_EACCESS) != 0) {
        return fail_io(ctx, o, "replace it", errno);
    }
    return QUANT_OK;
}

static uint64_t random_word(void)
{
    uint64_t word;
    if (getrandom(&word, sizeof word, GRND_NONBLOCK) != (ssize_t)sizeof word) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        word = (uint64_t)now.tv_sec << 30 ^ (uint64_t)now.tv_nsec;
    }
    return word; /* only a collision is at stake, and O_EXCL notices it */
}

static guard *free_guard(void)
{
    for (int i = 0; i < GUARDS; i++) {
        if (atomic_load(&guards[i].owner) != getpid()) {
            return &guards[i];
        }
    }
    return NULL;
}

static int create_once(quant_output *o, guard *g)
{
    quant_output_temp_name(o->temp, o->name, random_word());
    o->fd = openat(o->folder, o->temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (o->fd < 0) {
        return errno;
    }
    flock(o->fd, LOCK_EX | LOCK_NB); /* best effort, see is_stale */
    g->folder = o->folder;
    memcpy(g->temp, o->temp, sizeof g->temp);
    atomic_store(&g->owner, getpid());
    o->guard = g;
    return 0;
}

/* Signals wait while the file exists and its guard does not. */
static quant_status create_temp(quant_context *ctx, quant_output *o)
{
    sigset_t set, old;
    signal_set(&set);
    pthread_mutex_lock(&temp_lock);
    guard *g = free_guard();
    if (!g) {
        pthread_mutex_unlock(&temp_lock);
        return quant_fail(ctx, QUANT_ELIMIT, "%s: output: more than %d at once", o->shown, GUARDS);
    }
    quant_output_sweep(o->folder, o->name);
    pthread_sigmask(SIG_BLOCK, &set, &old);
    int error = EINTR;
    for (int i = 0; i < MOST_INTERRUPTIONS && (error == EINTR || error == EEXIST); i++) {
        error = create_once(o, g);
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_mutex_unlock(&temp_lock);
    return error ? fail_io(ctx, o, "create a temporary file beside it", error) : QUANT_OK;
}

/* fallocate and not posix_fallocate: the latter would write zeros where the call is missing. */
static quant_status reserve(quant_context *ctx, quant_output *o, uint64_t bytes)
{
    o->reserved = bytes;
    if (bytes > INT64_MAX) {
        return quant_fail(ctx, QUANT_EOVERFLOW, "%s: output: %llu bytes are beyond any file",
                          o->shown, (unsigned long long)bytes);
    }
    int error = bytes ? EINTR : 0;
    for (int i = 0; i < MOST_INTERRUPTIONS && error == EINTR; i++) {
        error = fallocate(o->fd, 0, 0, (off_t)bytes) == 0 ? 0 : errno;
    }
    if (error == 0 || error == EOPNOTSUPP || error == ENOSYS) {
        return QUANT_OK;
    }
    return fail_io(ctx, o, "reserve its space", error);
}

quant_status quant_output_open(quant_context *ctx, const char *path, uint64_t bytes,
                               quant_output **out)
{
    char real[PATH_MAX + 2];
    if (!path || !out) {
        return quant_fail(ctx, QUANT_EINVAL, "output: path and out must not be NULL");
    }
    quant_output *o = quant_alloc(ctx, 1, sizeof *o);
    if (!o) {
        return QUANT_ENOMEM;
    }
    memset(o, 0, sizeof *o);
    o->fd = o->folder = -1;
    snprintf(o->shown, sizeof o->shown, "%s", path);
    quant_status s = split_path(ctx, o, path, real);
    s = s == QUANT_OK ? look_at_target(ctx, o) : s;
    s = s == QUANT_OK ? create_temp(ctx, o) : s;
    s = s == QUANT_OK ? reserve(ctx, o, bytes) : s;
    if (s != QUANT_OK) {
        quant_output_discard(ctx, o);
        return s;
    }
    *out = o;
    return QUANT_OK;
}

/* ---- write, commit, discard ----------------------------------------------------------------- */

quant_status quant_output_write(quant_context *ctx, quant_output *out, uint64_t offset,
                                const void *data, size_t count)
{
    const char *from = data;
    uint64_t end;
    if (__builtin_add_overflow(offset, (uint64_t)count, &end) || end > INT64_MAX) {
        return quant_fail(ctx, QUANT_EOVERFLOW, "%s: output: offset beyond any file", out->shown);
    }
    out->end = count && end > out->end ? end : out->end;
    int interruptions = 0;
    while (count > 0) {
        size_t piece = count < MOST_WRITTEN ? count : MOST_WRITTEN;
        ssize_t n = pwrite(out->fd, from, piece, (off_t)offset);
        if (n < 0 && errno == EINTR && ++interruptions < MOST_INTERRUPTIONS) {
            continue;
        }
        if (n <= 0) {
            out->failed = n < 0 ? errno : EIO;
            return fail_io(ctx, out, "write", out->failed);
        }
        interruptions = 0;
        from += n;
        offset += (uint64_t)n;
        count -= (size_t)n;
    }
    return QUANT_OK;
}

/* The file is complete after this, or it is still a temporary one. An fsync that failed is not
 * tried again: the kernel may have dropped the dirty pages, and a second call would lie. */
static quant_status publish(quant_context *ctx, quant_output *o)
{
    if (o->failed) {
        return fail_io(ctx, o, "write", o->failed);
    }
    if (o->reserved && o->end != o->reserved) {
        return quant_fail(ctx, QUANT_EINVAL, "%s: output: expected %llu bytes, found %llu",
                          o->shown, (unsigned long long)o->reserved, (unsigned long long)o->end);
    }
    if (fchmod(o->fd, o->mode) != 0) {
        return fail_io(ctx, o, "set its permissions", errno);
    }
    if (fsync(o->fd) != 0) {
        return fail_io(ctx, o, "sync it", errno);
    }
    int fd = o->fd;
    o->fd = -1;
    if (close(fd) != 0 && errno != EINTR) { /* EINTR: closed all the same, and synced before */
        return fail_io(ctx, o, "close it", errno);
    }
    if (renameat(o->folder, o->temp, o->folder, o->name) != 0) {
        return fail_io(ctx, o, "rename the temporary file", errno);
    }
    atomic_store(&o->guard->owner, 0);
    o->guard = NULL;
    return QUANT_OK;
}

quant_status quant_output_commit(quant_context *ctx, quant_output *out)
{
    quant_status s = publish(ctx, out);
    /* EINVAL: a file system on which folders cannot be synced */
    if (s == QUANT_OK && fsync(out->folder) != 0 && errno != EINVAL) {
        s = fail_io(ctx, out, "sync its folder (the new file is complete, but may not survive a "
                    "power cut)", errno);
    }
    quant_output_discard(ctx, out);
    return s;
}

void quant_output_discard(quant_context *ctx, quant_output *out)
{
    if (!out) {
        return;
    }
    if (out->guard) {
        unlinkat(out->folder, out->temp, 0);
        atomic_store(&out->guard->owner, 0);
    }
    if (out->fd >= 0) {
        close(out->fd);
    }
    if (out->folder >= 0) {
        close(out->folder);
    }
    quant_release(ctx, out, 1, sizeof *out);
}
