/* SPDX-License-Identifier: GPL-3.0-or-later */
/* scratch.h - whole files, folders and programs of this build, for tests that write. */
#ifndef QUANT_TESTS_SCRATCH_H
#define QUANT_TESTS_SCRATCH_H

#include <stdbool.h>
#include <stddef.h>

/* A fresh, empty folder of this run. Static ring as test_scratch_path. */
const char *scratch_folder(const char *name);
/* "FOLDER/NAME"; ring of 8. */
const char *scratch_join(const char *folder, const char *name);
/* Path of a file that costs no disk, for tests that sync a thousand times; in the scratch folder
 * when there is no memory file system. The caller removes it. Static ring of 4. */
const char *scratch_memory(const char *name);
void scratch_put(const char *path, const void *bytes, size_t count);
/* Bytes of a file, one 0 after them; NULL when it cannot be read. free() it. */
char *scratch_get(const char *path, size_t *count);
/* The file exists and is exactly these bytes. */
bool scratch_holds(const char *path, const void *bytes, size_t count);
/* How many entries a folder has, without . and .. */
int scratch_entries(const char *folder);
/* Path of a program that was built beside the test program: "writer", "fail_io.so". */
const char *scratch_program(const char *name);

#endif
