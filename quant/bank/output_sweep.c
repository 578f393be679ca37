/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "quant/bank/output_sweep.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    NAME_KEPT = 200, /* bytes of NAME in the temporary name; 33 more at most, NAME_MAX is 255 */
    RANDOM_DIGITS = 16
};

void quant_output_temp_name(char temp[NAME_MAX + 1], const char *name, uint64_t word)
{
    snprintf(temp, NAME_MAX + 1, ".%.*s.%ld.%016llx.tmp", NAME_KEPT, name, (long)getpid(),
             (unsigned long long)word);
}

/* The pid inside ".NAME.PID.RANDOM.tmp" for this target, 0 for any other file name. */
static pid_t pid_of_temp(const char *name, const char *file)
{
    char prefix[NAME_KEPT + 3];
    int n = snprintf(prefix, sizeof prefix, ".%.*s.", NAME_KEPT, name);
    if (strncmp(file, prefix, (size_t)n) != 0) {
        return 0;
    }
    const char *p = file + n;
    size_t digits = strspn(p, "0123456789");
    size_t hex = p[digits] == '.' ? strspn(p + digits + 1, "0123456789abcdef") : 0;
    if (digits == 0 || digits > 9 || hex != RANDOM_DIGITS ||
        strcmp(p + digits + 1 + hex, ".tmp") != 0) {
        return 0;
    }
    return (pid_t)strtol(p, NULL, 10);
}

/* Its maker holds a lock on it for as long as it lives; the pid is asked as well, for file systems
 * without locks. Our own pid in the name of an unlocked file is a predecessor's (in a container
 * every run may have the same pid). */
static bool is_stale(int folder, const char *file, pid_t pid)
{
    if (pid != getpid() && (kill(pid, 0) == 0 || errno != ESRCH)) {
        return false;
    }
    int fd = openat(folder, file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    struct stat st;
    bool stale = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
                 (flock(fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK);
    close(fd);
    return stale;
}

void quant_output_sweep(int folder, const char *name)
{
    int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        if (fd >= 0) {
            close(fd);
        }
        return;
    }
    for (struct dirent *e = readdir(dir); e; e = readdir(dir)) {
        pid_t pid = pid_of_temp(name, e->d_name);
        if (pid > 0 && is_stale(folder, e->d_name, pid)) {
            unlinkat(folder, e->d_name, 0);
        }
    }
    closedir(dir);
}
