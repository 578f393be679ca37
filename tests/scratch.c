/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tests/scratch.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/test.h"

static void must(int fine, const char *what)
{
    if (!fine) {
        perror(what);
        exit(1);
    }
}

const char *scratch_folder(const char *name)
{
    static unsigned turn;
    char unique[NAME_MAX];
    snprintf(unique, sizeof unique, "%s-%u", name, turn++);
    const char *path = test_scratch_path(unique);
    must(mkdir(path, 0700) == 0, path);
    return path;
}

const char *scratch_join(const char *folder, const char *name)
{
    static char ring[8][PATH_MAX];
    static int turn;
    char *p = ring[turn++ % 8];
    snprintf(p, sizeof ring[0], "%s/%s", folder, name);
    return p;
}

const char *scratch_memory(const char *name)
{
    static char ring[4][NAME_MAX];
    static int turn;
    if (access("/dev/shm", W_OK) != 0) {
        return test_scratch_path(name);
    }
    char *p = ring[turn++ % 4];
    snprintf(p, sizeof ring[0], "/dev/shm/quant-tests-%ld-%s", (long)getpid(), name);
    return p;
}

void scratch_put(const char *path, const void *bytes, size_t count)
{
    FILE *f = fopen(path, "wb");
    must(f && fwrite(bytes, 1, count, f) == count && fclose(f) == 0, path);
}

char *scratch_get(const char *path, size_t *count)
{
    FILE *f = fopen(path, "rb");
    if (!f) {
        return NULL;
    }
    must(fseek(f, 0, SEEK_END) == 0, path);
    long end = ftell(f);
    must(end >= 0, path);
    char *bytes = malloc((size_t)end + 1);
    rewind(f);
    must(bytes && fread(bytes, 1, (size_t)end, f) == (size_t)end, path);
    bytes[end] = '\0';
    fclose(f);
    *count = (size_t)end;
    return bytes;
}

bool scratch_holds(const char *path, const void *bytes, size_t count)
{
    size_t n = 0;
    char *found = scratch_get(path, &n);
    bool same = found && n == count && memcmp(found, bytes, count) == 0;
    free(found);
    return same;
}

int scratch_entries(const char *folder)
{
    DIR *dir = opendir(folder);
    must(dir != NULL, folder);
    int n = 0;
    for (struct dirent *e = readdir(dir); e; e = readdir(dir)) {
        n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    }
    closedir(dir);
    return n;
}

const char *scratch_program(const char *name)
{
    static char ring[4][PATH_MAX];
    static int turn;
    char *p = ring[turn++ % 4];
    ssize_t n = readlink("/proc/self/exe", p, PATH_MAX - 64);
    must(n > 0, "/proc/self/exe");
    p[n] = '\0';
    strcpy(strrchr(p, '/') + 1, name);
    return p;
}
