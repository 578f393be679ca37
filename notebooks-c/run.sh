#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Run notebooks that make has compiled and write Markdown and figures beside their sources.
#     sh notebooks-c/run.sh BUILD [NAME...]      NAME: 01_per_tensor, ...; none: all of them
build=$(cd "$1" && pwd) || exit 2
shift
cd "$(dirname "$0")" || exit 2
[ $# -gt 0 ] || set -- $(ls ./[0-9]*.c | sed 's|^\./||; s|\.c$||')
failed=0
for name; do
    echo "notebook $name"
    if NOTEBOOK_WEAVE=1 BUILD="$build" "$build/notebooks/$name" >"$build/notebooks/$name.out" &&
        awk -f weave.awk "$build/notebooks/$name.out" "$name.c" |
        sed "1{/^$/d}" >"$build/notebooks/$name.md"; then
        mv "$build/notebooks/$name.md" "$name.md"
    else
        echo "FAILED: notebook $name"
        failed=$((failed + 1))
    fi
done
[ "$failed" = 0 ]
