/* SPDX-License-Identifier: GPL-3.0-or-later */
/* peers.h - rows of `make bench-peers`: the library beside a peer, in interleaved pairs.
 *
 * A row times one round of each side; the ratio of a pair is the peer's seconds over ours, and the
 * median over PEERS_PAIRS of them is held against the target. A peer may be the machine itself
 * (reading, memset): the ratio is then the share of its speed. A file adds its rows as an array
 * that ends with a row without measure, and one line to the table in main.c. */
#ifndef QUANT_TESTS_PEERS_H
#define QUANT_TESTS_PEERS_H

#include <stddef.h>
#include <stdint.h>

enum { PEERS_PAIRS = 11 };

typedef enum peers_state {
    PEERS_READY,
    PEERS_SKIP,  /* the peer is not here: the row says so, nothing fails */
    PEERS_WRONG, /* the two sides disagree: no time of theirs means anything */
} peers_state;

typedef struct peers_row {
    const char *measure, *peer, *unit; /* unit of speed, as "Mw/s" */
    double amount;                     /* units a round: weights * 1e-6, bytes * 1e-9, ... */
    double target, stretch;            /* ratios; stretch 0: there is none */
    int variant;                       /* for the row's own functions */
    /* Prepare both sides and hold their results against each other, before anything is timed. */
    peers_state (*begin)(const struct peers_row *row);
    double (*ours)(void);   /* seconds of one round */
    double (*theirs)(void);
    void (*end)(void);
} peers_row;

/* What begin has to say: the reason of a skip, what disagrees, or what was checked. */
void peers_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Seconds of one call of run, over as many calls as take 20 ms: those that this process was given
 * a processor, for work of one thread on a machine that has other work too, and those of the wall
 * clock, for the rest. */
double peers_cpu_seconds(void (*run)(void));
double peers_seconds(void (*run)(void));

/* n floats from memory or the end of the program; standard deviation 0.02, rounded to `type`. */
enum { PEERS_BF16, PEERS_F16, PEERS_F32 };
float *peers_weights(size_t n, int type);

/* A peer in another process: it is sent one line and answers with numbers. */
typedef struct peers_worker {
    int pid;
    void *to, *from; /* FILE * */
} peers_worker;
int peers_worker_start(peers_worker *w, const char *const argv[]); /* 0: it does not start */
int peers_worker_ask(peers_worker *w, const char *line, double *answer); /* 0: no answer */
void peers_worker_stop(peers_worker *w);

extern const peers_row peers_kmeans[], peers_palettize[], peers_roof[], peers_gemm[];
extern const peers_row peers_gemv[];

#endif
