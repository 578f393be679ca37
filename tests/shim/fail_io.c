/* SPDX-License-Identifier: GPL-3.0-or-later */
/* fail_io.c - preloaded before a program: makes chosen system calls fail.
 *     FAIL_CALL   open pwrite fallocate fsync close rename fchmod (openat counts as open, ...)
 *     FAIL_AT     which of them, from 1
 *     FAIL_ERRNO  what it reports; 0 means a write of three bytes at most
 *     FAIL_ALWAYS set: all later ones fail as well
 *     FAIL_LOG    set: the name of every call goes to stderr
 * Says "fault fired" on stderr the first time, so that a test knows where the calls end. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int strikes(const char *call)
{
    static long seen;
    const char *want = getenv("FAIL_CALL"), *at = getenv("FAIL_AT");
    if (getenv("FAIL_LOG")) {
        syscall(SYS_write, 2, call, strlen(call));
        syscall(SYS_write, 2, "\n", (size_t)1);
    }
    if (!want || !at || strcmp(want, call) != 0) {
        return 0;
    }
    long k = strtol(at, NULL, 10);
    seen++;
    if (seen == k) {
        static const char note[] = "fault fired\n";
        syscall(SYS_write, 2, note, sizeof note - 1);
    }
    return seen == k || (seen > k && getenv("FAIL_ALWAYS"));
}

static int fail(void)
{
    const char *number = getenv("FAIL_ERRNO");
    errno = number ? (int)strtol(number, NULL, 10) : EIO;
    return -1;
}

static int opens(int folder, const char *path, int flags, mode_t mode)
{
    return strikes("open") ? fail() : (int)syscall(SYS_openat, folder, path, flags, mode);
}

#define MODE_OF(flags)                             \
    mode_t mode = 0;                               \
    if (flags & O_CREAT) {                         \
        va_list args;                              \
        va_start(args, flags);                     \
        mode = (mode_t)va_arg(args, unsigned int); \
        va_end(args);                              \
    }

int open(const char *path, int flags, ...)
{
    MODE_OF(flags)
    return opens(AT_FDCWD, path, flags, mode);
}

int openat(int folder, const char *path, int flags, ...)
{
    MODE_OF(flags)
    return opens(folder, path, flags, mode);
}

ssize_t pwrite(int fd, const void *data, size_t count, off_t offset)
{
    if (strikes("pwrite")) {
        if (fail() && errno != 0) {
            return -1;
        }
        count = count < 3 ? count : 3;
    }
    return syscall(SYS_pwrite64, fd, data, count, offset);
}

int fallocate(int fd, int mode, off_t offset, off_t count)
{
    return strikes("fallocate") ? fail() : (int)syscall(SYS_fallocate, fd, mode, offset, count);
}

int fsync(int fd)
{
    return strikes("fsync") ? fail() : (int)syscall(SYS_fsync, fd);
}

/* As on Linux: the descriptor is gone even when close reports an error. */
int close(int fd)
{
    int struck = strikes("close"), result = (int)syscall(SYS_close, fd);
    return struck ? fail() : result;
}

int renameat(int from, const char *old, int to, const char *new)
{
    return strikes("rename") ? fail() : (int)syscall(SYS_renameat2, from, old, to, new, 0);
}

int rename(const char *old, const char *new)
{
    return renameat(AT_FDCWD, old, AT_FDCWD, new);
}

int fchmod(int fd, mode_t mode)
{
    return strikes("fchmod") ? fail() : (int)syscall(SYS_fchmod, fd, mode);
}
