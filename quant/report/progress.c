/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "quant/report/progress.h"

#include <time.h>
#include <unistd.h>

#include "quant/report/text.h"

#define FIRST_AFTER 0.5 /* seconds */
#define THEN_EVERY 0.1

double quant_progress_clock(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void quant_progress_begin(quant_progress *p, FILE *to, bool quiet)
{
    double now = quant_progress_clock();
    bool shown = !quiet && isatty(fileno(to));
    *p = (quant_progress){.to = shown ? to : NULL, .start = now, .last = now};
}

void quant_progress_line(const char *name, uint64_t done, uint64_t total, double seconds, char *out,
                         size_t capacity)
{
    char shown[256];
    double share = total > 0 ? (double)done / (double)total : 0.0;
    quant_text_fit(name ? name : "", 60, shown, sizeof shown);
    if (share > 0.0 && share <= 1.0) {
        unsigned long left = (unsigned long)(seconds * (1.0 - share) / share + 0.5);
        snprintf(out, capacity, "%3.0f %%  eta %lu:%02lu  %s", 100.0 * share, left / 60, left % 60,
                 shown);
    } else {
        snprintf(out, capacity, "  0 %%  eta -:--  %s", shown);
    }
}

void quant_progress_step(void *user, const char *name, uint64_t done, uint64_t total)
{
    quant_progress *p = user;
    double now = p->to ? quant_progress_clock() : 0.0;
    if (!p->to || now - p->start < FIRST_AFTER || now - p->last < THEN_EVERY) {
        return;
    }
    char line[384];
    quant_progress_line(name, done, total, now - p->start, line, sizeof line);
    fprintf(p->to, "\r\033[K%s", line);
    fflush(p->to);
    p->last = now;
    p->visible = true;
}

void quant_progress_end(quant_progress *p)
{
    if (p->to && p->visible) {
        fputs("\r\033[K", p->to);
        fflush(p->to);
        p->visible = false;
    }
}
