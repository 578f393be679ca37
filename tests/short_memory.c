/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tests/short_memory.h"

#include <stdlib.h>

static void *take(void *user, size_t bytes)
{
    short_memory *m = user;
    if (m->calls++ == m->fail_at || (m->fired && m->ever_after)) {
        m->fired = true;
        return NULL;
    }
    void *p = malloc(bytes);
    m->held += p ? bytes : 0;
    m->peak = m->held > m->peak ? m->held : m->peak;
    return p;
}

static void give_back(void *user, void *memory, size_t bytes)
{
    ((short_memory *)user)->held -= memory ? bytes : 0;
    free(memory);
}

quant_context *short_memory_context(short_memory *m)
{
    return quant_context_new(&(quant_allocator){take, give_back, m});
}
