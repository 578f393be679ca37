/* SPDX-License-Identifier: GPL-3.0-or-later */
/* worker.c - a peer that is no C library answers over two pipes. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/peers/peers.h"

int peers_worker_start(peers_worker *w, const char *const argv[])
{
    int to[2], from[2];
    signal(SIGPIPE, SIG_IGN);
    if (pipe(to) != 0 || pipe(from) != 0 || (w->pid = (int)fork()) < 0) {
        return 0;
    }
    if (w->pid == 0) {
        dup2(to[0], STDIN_FILENO), dup2(from[1], STDOUT_FILENO);
        close(to[1]), close(from[0]);
        execv(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    close(to[0]), close(from[1]);
    w->to = fdopen(to[1], "w");
    w->from = fdopen(from[0], "r");
    double ready = 0;
    if (!w->to || !w->from || !peers_worker_ask(w, "ready", &ready)) {
        peers_worker_stop(w);
        return 0;
    }
    return 1;
}

int peers_worker_ask(peers_worker *w, const char *line, double *answer)
{
    char text[64], *end = text;
    fprintf(w->to, "%s\n", line);
    fflush(w->to);
    if (!fgets(text, sizeof text, w->from)) {
        return 0;
    }
    *answer = strtod(text, &end);
    return end != text;
}

void peers_worker_stop(peers_worker *w)
{
    if (w->pid > 0) {
        fclose(w->to);
        fclose(w->from);
        waitpid(w->pid, NULL, 0);
        w->pid = 0;
    }
}
