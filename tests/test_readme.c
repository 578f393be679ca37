/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The README tells the truth: its example compiles, runs and prints what it says, and the
 * table it shows is what the command prints. */
#include <stdlib.h>
#include <string.h>

#include "tests/run.h"
#include "tests/test.h"

static char *readme(void)
{
    run_result r = run_shell("cat README.md");
    free(r.err);
    return r.out;
}

/* Every non-blank line of text stands in the README, which may indent it. */
static int missing_lines(const char *text, const char *where)
{
    int missing = 0;
    char *copy = strdup(text), *rest = NULL;
    for (char *line = strtok_r(copy, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        if (!strstr(where, line)) {
            printf("\n    not in the README: %s\n", line);
            missing++;
        }
    }
    free(copy);
    return missing;
}

static void the_example_does_what_it_says(void)
{
    const char *binary = test_scratch_path("example"), *source = test_scratch_path("example.c");
    run_result r = run_shell(
        "awk '/^```/ { inside = /^```c example$/; next } inside' README.md > '%s' && "
        "${EXAMPLE_CC:-gcc} -std=c11 -Wall -Wextra -Werror -I. '%s' -o '%s' "
        "-fopenmp \"$(dirname \"$QUANT\")/libquant.a\" -lm $EXAMPLE_FLAGS && '%s'",
        source, source, binary, binary);
    CU_ASSERT_EQUAL(r.status, 0);
    CU_ASSERT(strlen(r.out) > 10);
    char *text = readme();
    CU_ASSERT_EQUAL(missing_lines(r.out, text), 0);
    if (r.status) {
        printf("\n    %s\n", r.err);
    }
    free(text);
    run_free(&r);
}

static void the_table_is_what_the_command_prints(void)
{
    const char *bank = test_bank_path("stories260k/model.safetensors");
    if (!bank) {
        return;
    }
    run_result r = run_shell("\"$QUANT\" compare '%s' --probe 5 --quiet | head -n 27", bank);
    char *text = readme();
    CU_ASSERT_EQUAL(missing_lines(r.out, text), 0);
    free(text);
    run_free(&r);
}

TEST_SUITE(readme,
           {"the example does what it says", the_example_does_what_it_says},
           {"the table is what the command prints", the_table_is_what_the_command_prints})
