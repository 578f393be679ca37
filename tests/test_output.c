/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "quant/bank/output.h"
#include "tests/run.h"
#include "tests/scratch.h"
#include "tests/test.h"

static const char old_text[] = "the old file, which must survive";

static quant_status write_text(quant_context *ctx, const char *path, const char *text)
{
    quant_output *out = NULL;
    quant_status s = quant_output_open(ctx, path, strlen(text), &out);
    if (s != QUANT_OK) {
        return s;
    }
    s = quant_output_write(ctx, out, 0, text, strlen(text));
    if (s == QUANT_OK) {
        return quant_output_commit(ctx, out);
    }
    quant_output_discard(ctx, out);
    return s;
}

/* ---- the ordinary life of a file ------------------------------------------------------------ */

static void appears_at_commit_and_not_before(void)
{
    quant_context *ctx = quant_context_new(NULL);
    const char *folder = scratch_folder("life"), *path = scratch_join(folder, "new");
    quant_output *out = NULL;
    CHECK_OK(ctx, quant_output_open(ctx, path, 6, &out));
    CHECK_OK(ctx, quant_output_write(ctx, out, 3, "def", 3));
    CHECK_OK(ctx, quant_output_write(ctx, out, 0, "abc", 3));
    CU_ASSERT_NOT_EQUAL(access(path, F_OK), 0);
    CHECK_OK(ctx, quant_output_commit(ctx, out));
    CU_ASSERT(scratch_holds(path, "abcdef", 6));
    CHECK_OK(ctx, quant_output_open(ctx, path, 0, &out));
    CHECK_OK(ctx, quant_output_write(ctx, out, 0, "xyz", 3));
    CU_ASSERT(scratch_holds(path, "abcdef", 6));
    quant_output_discard(ctx, out);
    quant_output_discard(ctx, NULL);
    CU_ASSERT(scratch_holds(path, "abcdef", 6));
    CU_ASSERT_EQUAL(scratch_entries(folder), 1);
    CU_ASSERT_EQUAL(quant_output_open(ctx, NULL, 0, &out), QUANT_EINVAL);
    quant_context_free(ctx);
}

static void announced_size_is_insisted_on(void)
{
    quant_context *ctx = quant_context_new(NULL);
    const char *folder = scratch_folder("size"), *path = scratch_join(folder, "f");
    scratch_put(path, old_text, sizeof old_text);
    for (uint64_t written = 3; written <= 5; written += 2) {
        quant_output *out = NULL;
        CHECK_OK(ctx, quant_output_open(ctx, path, 4, &out));
        CHECK_OK(ctx, quant_output_write(ctx, out, 0, "12345", written));
        CU_ASSERT_EQUAL(quant_output_commit(ctx, out), QUANT_EINVAL);
        CU_ASSERT(scratch_holds(path, old_text, sizeof old_text));
    }
    quant_output *out = NULL;
    CU_ASSERT_EQUAL(quant_output_open(ctx, path, UINT64_MAX, &out), QUANT_EOVERFLOW);
    CHECK_OK(ctx, quant_output_open(ctx, path, 0, &out));
    CU_ASSERT_EQUAL(quant_output_write(ctx, out, UINT64_MAX, "12", 2), QUANT_EOVERFLOW);
    CU_ASSERT_EQUAL(quant_output_write(ctx, out, INT64_MAX, "12", 2), QUANT_EOVERFLOW);
    quant_output_discard(ctx, out);
    CU_ASSERT_EQUAL(scratch_entries(folder), 1);
    quant_context_free(ctx);
}

static void permissions_are_kept_or_follow_the_umask(void)
{
    quant_context *ctx = quant_context_new(NULL);
    const char *folder = scratch_folder("mode"), *path = scratch_join(folder, "f");
    struct stat st;
    mode_t before = umask(0026);
    CHECK_OK(ctx, write_text(ctx, path, "new"));
    CU_ASSERT(stat(path, &st) == 0 && (st.st_mode & 07777) == 0640);
    CU_ASSERT_EQUAL(chmod(path, 04751), 0);
    CHECK_OK(ctx, write_text(ctx, path, "again"));
    CU_ASSERT(stat(path, &st) == 0 && (st.st_mode & 07777) == 0751);
    CU_ASSERT_EQUAL(umask(before), 0026);
    quant_output *out = NULL;
    CHECK_OK(ctx, quant_output_open(ctx, path, 0, &out));
    run_result r = run_shell("stat -c %%a '%s'/.f.*.tmp", folder);
    CU_ASSERT_STRING_EQUAL(r.out, "600\n");
    run_free(&r);
    quant_output_discard(ctx, out);
    quant_context_free(ctx);
}

/* The reader of a bank that is written over its own path keeps the old bytes. */
static void input_and_output_may_be_one_path(void)
{
    quant_context *ctx = quant_context_new(NULL);
    const char *path = scratch_join(scratch_folder("same"), "f");
    char seen[sizeof old_text];
    scratch_put(path, old_text, sizeof old_text);
    int fd = open(path, O_RDONLY);
    CHECK_OK(ctx, write_text(ctx, path, "new"));
    CU_ASSERT_EQUAL(read(fd, seen, sizeof seen), (ssize_t)sizeof seen);
    CU_ASSERT_EQUAL(memcmp(seen, old_text, sizeof seen), 0);
    CU_ASSERT(scratch_holds(path, "new", 3));
    close(fd);
    quant_context_free(ctx);
}

static void odd_names_are_names(void)
{
    quant_context *ctx = quant_context_new(NULL);
    char longest[NAME_MAX + 1], beyond[NAME_MAX + 2];
    memset(longest, 'n', NAME_MAX);
    longest[NAME_MAX] = '\0';
    memset(beyond, 'n', NAME_MAX + 1);
    beyond[NAME_MAX + 1] = '\0';
    const char *names[] = {"-rf", "%s%n", "a b\n\x1b[31m", "\xff\xfe", "'\"$(x)`", ".hidden", "~",
                           ".new.1.0123456789abcdef.tmp", longest};
    const char *folder = scratch_folder("odd");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *path = scratch_join(folder, names[i]);
        CHECK_OK(ctx, write_text(ctx, path, names[i]));
        CU_ASSERT(scratch_holds(path, names[i], strlen(names[i])));
        CU_ASSERT_EQUAL(scratch_entries(folder), (int)i + 1);
    }
    CU_ASSERT_EQUAL(write_text(ctx, scratch_join(folder, beyond), "x"), QUANT_EIO);
    CU_ASSERT_EQUAL(write_text(ctx, scratch_join(folder, "no\nfolder/x"), "x"), QUANT_EIO);
    CU_ASSERT_PTR_NULL(strchr(quant_context_message(ctx), '\n'));
    quant_context_free(ctx);
}

static void only_regular_files_are_replaced(void)
{
    quant_context *ctx = quant_context_new(NULL);
    const char *folder = scratch_folder("kind"), *fifo = scratch_join(folder, "fifo");
    const char *loop = scratch_join(folder, "loop");
    CU_ASSERT_EQUAL(mkfifo(fifo, 0600), 0);
    CU_ASSERT_EQUAL(symlink("nowhere", loop), 0);
    const struct {
        const char *path, *found;
    } refused[] = {{folder, "a folder"}, {scratch_join(folder, ""), "a folder"},
                   {scratch_join(folder, "."), "a folder"},
                   {scratch_join(folder, ".."), "a folder"},
                   {"/", "a folder"}, {"", "an empty path"}, {fifo, "a FIFO"},
                   {"/dev/full", "a device"}, {"/dev/null", "a device"},
                   {loop, "a link that leads nowhere"}};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        quant_output *out = NULL;
        CU_ASSERT_EQUAL(quant_output_open(ctx, refused[i].path, 9, &out), QUANT_EIO);
        CU_ASSERT_PTR_NULL(out);
        CU_ASSERT_PTR_NOT_NULL(strstr(quant_context_message(ctx), refused[i].found));
    }
    CU_ASSERT_EQUAL(scratch_entries(folder), 2);
    quant_context_free(ctx);
}

static void a_link_stays_and_its_file_is_replaced(void)
{
    quant_context *ctx = quant_context_new(NULL);
    const char *there = scratch_folder("there"), *here = scratch_folder("here");
    const char *file = scratch_join(there, "file"), *second = scratch_join(here, "second");
    const char *first = scratch_join(here, "first");
    struct stat st;
    scratch_put(file, old_text, sizeof old_text);
    CU_ASSERT_EQUAL(symlink("second", first), 0);
    CU_ASSERT_EQUAL(symlink(file, second), 0);
    CHECK_OK(ctx, write_text(ctx, first, "through two links"));
    CU_ASSERT(scratch_holds(file, "through two links", 17));
    CU_ASSERT(lstat(first, &st) == 0 && S_ISLNK(st.st_mode));
    CU_ASSERT(lstat(second, &st) == 0 && S_ISLNK(st.st_mode));
    CU_ASSERT_EQUAL(scratch_entries(there), 1);
    CU_ASSERT_EQUAL(scratch_entries(here), 2);
    quant_context_free(ctx);
}

static void sixteen_at_once_and_no_more(void)
{
    quant_context *ctx = quant_context_new(NULL);
    const char *folder = scratch_folder("many");
    quant_output *out[17] = {NULL};
    char name[8];
    for (int i = 0; i < 16; i++) {
        snprintf(name, sizeof name, "%d", i % 2);
        CHECK_OK(ctx, quant_output_open(ctx, scratch_join(folder, name), 0, &out[i]));
    }
    CU_ASSERT_EQUAL(scratch_entries(folder), 16);
    const char *path = scratch_join(folder, "x");
    CU_ASSERT_EQUAL(quant_output_open(ctx, path, 0, &out[16]), QUANT_ELIMIT);
    CHECK_OK(ctx, quant_output_commit(ctx, out[3]));
    CHECK_OK(ctx, quant_output_open(ctx, path, 0, &out[3]));
    for (int i = 0; i < 16; i++) {
        quant_output_discard(ctx, out[i]);
    }
    CU_ASSERT_EQUAL(scratch_entries(folder), 1);
    quant_context_free(ctx);
}

/* root may write anywhere, so this looks at it as nobody. */
static void write_protection_is_respected(void)
{
    char folder[] = "/tmp/quant-tests-XXXXXX", path[64];
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/f", folder);
    scratch_put(path, old_text, sizeof old_text);
    CU_ASSERT(chmod(path, 0444) == 0 && chmod(folder, 0777) == 0);
    fflush(NULL);
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        if (geteuid() == 0 && (setegid(65534) != 0 || seteuid(65534) != 0)) {
            _exit(77);
        }
        int ok = write_text(NULL, path, "x") == QUANT_EIO;
        char other[72];
        snprintf(other, sizeof other, "%s2", path);
        ok = ok && write_text(NULL, other, "x") == QUANT_OK && unlink(other) == 0;
        _exit(ok ? 0 : 1);
    }
    CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
    CU_ASSERT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CU_ASSERT_EQUAL(chmod(folder, 0555), 0);
    child = fork();
    if (child == 0) {
        int fits = geteuid() != 0 || seteuid(65534) == 0;
        snprintf(path, sizeof path, "%s/new", folder);
        _exit(fits && write_text(NULL, path, "x") == QUANT_EIO ? 0 : 1);
    }
    CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
    CU_ASSERT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CU_ASSERT_EQUAL(chmod(folder, 0700), 0);
    snprintf(path, sizeof path, "%s/f", folder);
    CU_ASSERT(scratch_holds(path, old_text, sizeof old_text));
    CU_ASSERT_EQUAL(scratch_entries(folder), 1);
    CU_ASSERT(unlink(path) == 0 && rmdir(folder) == 0);
}

TEST_SUITE(output,
           {"a file appears at commit and not before", appears_at_commit_and_not_before},
           {"the announced size is insisted on", announced_size_is_insisted_on},
           {"permissions are kept or follow the umask", permissions_are_kept_or_follow_the_umask},
           {"input and output may be one path", input_and_output_may_be_one_path},
           {"odd names are names", odd_names_are_names},
           {"only regular files are replaced", only_regular_files_are_replaced},
           {"a link stays and its file is replaced", a_link_stays_and_its_file_is_replaced},
           {"sixteen at once and no more", sixteen_at_once_and_no_more},
           {"write protection is respected", write_protection_is_respected})
