/* SPDX-License-Identifier: GPL-3.0-or-later */
/* run.c - output goes to temporary files, so a command may say as much as it likes on either. */
#include "tests/run.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* build/quant, seen from build/tests/main, unless the caller named one. */
static void set_quant(void)
{
    char path[PATH_MAX];
    if (getenv("QUANT")) {
        return;
    }
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - sizeof "/quant");
    for (int up = 0; up < 2 && n > 0; up++) {
        while (n > 0 && path[--n] != '/') {
        }
    }
    if (n > 0) {
        memcpy(path + n, "/quant", sizeof "/quant");
        setenv("QUANT", path, 1);
    }
}

static char *slurp(FILE *f, size_t *bytes)
{
    long end = fseek(f, 0, SEEK_END) == 0 ? ftell(f) : -1;
    *bytes = end < 0 ? 0 : (size_t)end;
    char *text = malloc(*bytes + 1);
    rewind(f);
    if (!text || fread(text, 1, *bytes, f) != *bytes) {
        perror("run_shell");
        exit(1);
    }
    text[*bytes] = '\0';
    return text;
}

static void become_shell(const char *line, FILE *out, FILE *err)
{
    int null = open("/dev/null", O_RDONLY);
    signal(SIGPIPE, SIG_DFL);
    if (null < 0 || dup2(null, 0) < 0 || dup2(fileno(out), 1) < 0 || dup2(fileno(err), 2) < 0) {
        _exit(127);
    }
    execl("/bin/sh", "sh", "-c", line, (char *)NULL);
    _exit(127);
}

static int exit_status_of(pid_t child)
{
    int status;
    while (waitpid(child, &status, 0) < 0) {
        if (errno != EINTR) {
            return 127;
        }
    }
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

run_result run_shell(const char *format, ...)
{
    char line[16384];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    FILE *out = tmpfile(), *err = tmpfile();
    if (n < 0 || (size_t)n >= sizeof line || !out || !err) {
        fprintf(stderr, "run_shell: line too long or no temporary file\n");
        exit(1);
    }
    set_quant();
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        become_shell(line, out, err);
    }
    run_result r = {child < 0 ? 127 : exit_status_of(child), NULL, NULL, 0, 0};
    r.out = slurp(out, &r.out_bytes);
    r.err = slurp(err, &r.err_bytes);
    fclose(out);
    fclose(err);
    return r;
}

void run_free(run_result *r)
{
    free(r->out);
    free(r->err);
    r->out = r->err = NULL;
}
