/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_output_faults.c - every call fails once, or from then on; signals and dead writers. */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "quant/bank/output.h"
#include "tests/run.h"
#include "tests/scratch.h"
#include "tests/test.h"

static const char old_text[] = "the old file, which must survive";

enum { IO_STATUS = 5, MOST_CALLS = 200 };

typedef struct fault {
    const char *call;
    int error; /* 0: writes of three bytes at most */
    int always;
} fault;

typedef struct outcome {
    int fired, failed, folder_only;
} outcome;

/* One run of the writer with one fault. After a failure the target is the old file, or the whole
 * new one when only the folder's sync failed; never is anything else left in the folder. */
static bool run_with_fault(const fault *f, int k, const char *folder, const char *want,
                           size_t want_bytes, outcome *o)
{
    const char *path = scratch_join(folder, "f");
    scratch_put(path, old_text, sizeof old_text);
    run_result r = run_shell("ASAN_OPTIONS=verify_asan_link_order=0 LD_PRELOAD='%s' FAIL_CALL=%s "
                             "FAIL_AT=%d FAIL_ERRNO=%d %s '%s' '%s'", scratch_program("fail_io.so"),
                             f->call, k, f->error, f->always ? "FAIL_ALWAYS=1" : "",
                             scratch_program("writer"), path);
    bool fired = strstr(r.err, "fault fired") != NULL;
    bool folder_only = strstr(r.err, "sync its folder") != NULL;
    bool sound = (r.status == 0 || folder_only) ? scratch_holds(path, want, want_bytes)
                                                : scratch_holds(path, old_text, sizeof old_text);
    sound = sound && (r.status == 0 || (fired && r.status == IO_STATUS)) &&
            scratch_entries(folder) == 1;
    if (!sound) {
        printf("\n    %s number %d, errno %d, always %d: exit %d, %s\n", f->call, k, f->error,
               f->always, r.status, r.err);
    }
    CU_ASSERT(sound);
    o->fired += fired;
    o->failed += r.status != 0;
    o->folder_only += folder_only;
    run_free(&r);
    return fired;
}

static outcome sweep_fault(const fault *f, const char *folder, const char *want, size_t want_bytes)
{
    outcome o = {0, 0, 0};
    for (int k = 1; k < MOST_CALLS && run_with_fault(f, k, folder, want, want_bytes, &o); k++) {
    }
    CU_ASSERT(o.fired > 0 && o.fired < MOST_CALLS - 1);
    return o;
}

static void every_failing_call_leaves_the_old_file(void)
{
    static const struct {
        const char *call;
        int tolerated; /* calls whose failure costs nothing */
        int retried;   /* an interruption is not a failure */
    } calls[] = {{"open", 1, 1},  /* the look for stale files */
                 {"pwrite", 0, 1}, {"fallocate", 0, 1}, {"fchmod", 0, 0}, {"fsync", 0, 0},
                 {"close", 1, 0}, /* of the folder, after the last sync */
                 {"rename", 0, 0}};
    static const int errors[] = {EIO, ENOSPC};
    const char *folder = scratch_folder("faults"), *path = scratch_join(folder, "f");
    size_t bytes = 0;
    run_result r = run_shell("'%s' '%s'", scratch_program("writer"), path);
    CU_ASSERT_EQUAL(r.status, 0);
    run_free(&r);
    char *want = scratch_get(path, &bytes);
    for (size_t c = 0; c < sizeof calls / sizeof *calls; c++) {
        for (int e = 0; e < 4; e++) {
            fault f = {calls[c].call, errors[e / 2], e % 2};
            outcome o = sweep_fault(&f, folder, want, bytes);
            CU_ASSERT(o.failed >= o.fired - calls[c].tolerated && o.failed > 0);
            CU_ASSERT_EQUAL(o.folder_only, strcmp(calls[c].call, "fsync") == 0);
        }
        fault interrupted = {calls[c].call, EINTR, 0};
        outcome o = sweep_fault(&interrupted, folder, want, bytes);
        CU_ASSERT(!calls[c].retried || o.failed == 0);
    }
    fault shorter = {"pwrite", 0, 0}, endless = {"pwrite", EINTR, 1};
    CU_ASSERT_EQUAL(sweep_fault(&shorter, folder, want, bytes).failed, 0);
    shorter.always = 1;
    CU_ASSERT_EQUAL(sweep_fault(&shorter, folder, want, bytes).failed, 0);
    outcome o = sweep_fault(&endless, folder, want, bytes);
    CU_ASSERT_EQUAL(o.failed, o.fired);
    fault no_fallocate = {"fallocate", EOPNOTSUPP, 1};
    CU_ASSERT_EQUAL(sweep_fault(&no_fallocate, folder, want, bytes).failed, 0);
    free(want);
}

/* Reserve, write, permissions, sync, close; only then the name, and the folder after it. */
static void durable_before_visible(void)
{
    static const char wanted[] = "fallocate pwrite pwrite pwrite pwrite pwrite pwrite fchmod fsync "
                                 "close rename fsync close";
    run_result r = run_shell("ASAN_OPTIONS=verify_asan_link_order=0 FAIL_LOG=1 LD_PRELOAD='%s' "
                             "'%s' '%s' 2>&1 | tr '\\n' ' '", scratch_program("fail_io.so"),
                             scratch_program("writer"), scratch_join(scratch_folder("order"), "f"));
    CU_ASSERT_PTR_NOT_NULL(strstr(r.out, wanted));
    run_free(&r);
}

/* ulimit -f counts 512 bytes: limits on both sides of the file's size, met by fallocate or,
 * when that is missing, by write; with SIGXFSZ fatal (153 = 128 + 25) or ignored (EFBIG). */
static void file_size_limit_is_met_cleanly(void)
{
    const char *folder = scratch_folder("limit"), *path = scratch_join(folder, "f");
    int passed = 0, failed = 0;
    for (int blocks = 0; blocks < 96; blocks += 6) {
        for (int variant = 0; variant < 4; variant++) {
            scratch_put(path, old_text, sizeof old_text);
            run_result r = run_shell("%s ulimit -f %d; ASAN_OPTIONS=verify_asan_link_order=0 "
                                     "LD_PRELOAD='%s' FAIL_CALL=%s FAIL_AT=1 FAIL_ERRNO=%d "
                                     "exec '%s' '%s'", variant & 1 ? "trap '' XFSZ;" : "", blocks,
                                     scratch_program("fail_io.so"), variant & 2 ? "fallocate" : "",
                                     EOPNOTSUPP, scratch_program("writer"), path);
            int expected = blocks * 512 >= 41000 ? 0 : variant & 1 ? IO_STATUS : 128 + SIGXFSZ;
            CU_ASSERT_EQUAL(r.status, expected);
            CU_ASSERT_EQUAL(r.status != 0, scratch_holds(path, old_text, sizeof old_text));
            CU_ASSERT_EQUAL(scratch_entries(folder), 1);
            passed += r.status == 0;
            failed += r.status != 0;
            run_free(&r);
        }
    }
    CU_ASSERT(passed > 0 && failed > 0);
}

/* A writer that waits halfway. */
static pid_t start_paused(const char *path)
{
    const char *program = scratch_program("writer");
    int ends[2];
    char byte;
    CU_ASSERT_EQUAL_FATAL(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], 1);
        close(ends[0]);
        close(ends[1]);
        execl(program, program, path, "p", "pause", (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    CU_ASSERT_EQUAL(read(ends[0], &byte, 1), 1);
    close(ends[0]);
    return child;
}

static void signals_remove_the_temporary_file(void)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGXFSZ, SIGPIPE};
    const char *folder = scratch_folder("signal"), *path = scratch_join(folder, "f");
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        int status = 0;
        scratch_put(path, old_text, sizeof old_text);
        pid_t child = start_paused(path);
        CU_ASSERT_EQUAL(scratch_entries(folder), 2);
        kill(child, signals[i]);
        CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
        CU_ASSERT(WIFEXITED(status) && WEXITSTATUS(status) == 128 + signals[i]);
        CU_ASSERT(scratch_holds(path, old_text, sizeof old_text));
        CU_ASSERT_EQUAL(scratch_entries(folder), 1);
    }
}

static void write_now(const char *path, const char *text)
{
    quant_output *out = NULL;
    CU_ASSERT_EQUAL_FATAL(quant_output_open(NULL, path, 0, &out), QUANT_OK);
    CU_ASSERT_EQUAL(quant_output_write(NULL, out, 0, text, strlen(text)), QUANT_OK);
    CU_ASSERT_EQUAL(quant_output_commit(NULL, out), QUANT_OK);
}

static void the_next_run_sweeps_after_a_dead_one_only(void)
{
    const char *folder = scratch_folder("stale"), *path = scratch_join(folder, "f");
    char ours[64];
    pid_t child = start_paused(path);
    snprintf(ours, sizeof ours, ".f.%ld.0123456789abcdef.tmp", (long)getpid());
    scratch_put(scratch_join(folder, ours), "a predecessor with our pid", 26);
    scratch_put(scratch_join(folder, ".f.1.0123456789abcdef.tmp"), "init is alive", 13);
    scratch_put(scratch_join(folder, ".g.999999999.0123456789abcdef.tmp"), "other target", 12);
    scratch_put(scratch_join(folder, ".f.999999999.0123456789abcdeX.tmp"), "not ours", 8);
    scratch_put(scratch_join(folder, ".f.999999999.0123456789abcdef.tmp2"), "not ours", 8);
    write_now(path, "one");
    CU_ASSERT_EQUAL(scratch_entries(folder), 6); /* all but the predecessor's, and f */
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    write_now(path, "two");
    CU_ASSERT_EQUAL(scratch_entries(folder), 5);
    CU_ASSERT(scratch_holds(path, "two", 3));
}

static void of_many_writers_one_wins_whole(void)
{
    enum { WRITERS = 8 };
    const char *folder = scratch_folder("race"), *path = scratch_join(folder, "f");
    run_result r = run_shell("for i in a b c d e f g h; do '%s' '%s' $i & done; wait",
                             scratch_program("writer"), path);
    run_free(&r);
    size_t bytes = 0, data = 5 * 8192;
    char *found = scratch_get(path, &bytes);
    CU_ASSERT_FATAL(found && bytes > data);
    const char *first = found + bytes - data;
    CU_ASSERT(*first >= 'a' && *first < 'a' + WRITERS);
    for (size_t i = 0; i < data; i++) {
        if ((unsigned char)(first[i] - *first) != i % 8192 % 251) {
            CU_FAIL("the winner is a mixture");
            break;
        }
    }
    CU_ASSERT_EQUAL(scratch_entries(folder), 1);
    free(found);
}

TEST_SUITE(output_faults,
           {"every failing call leaves the old file", every_failing_call_leaves_the_old_file},
           {"durable before visible", durable_before_visible},
           {"a limit on file size is met cleanly", file_size_limit_is_met_cleanly},
           {"signals remove the temporary file", signals_remove_the_temporary_file},
           {"the next run sweeps after a dead one only", the_next_run_sweeps_after_a_dead_one_only},
           {"of many writers one wins whole", of_many_writers_one_wins_whole})
