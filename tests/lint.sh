#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# House rules that a compiler does not see. Prints each offence; exit 1 when there is one.
cd "$(dirname "$0")/.." || exit 2
bad=$(mktemp) && trap 'rm -f "$bad"' EXIT

say() { sed "s|^|$1: |" >>"$bad"; }

# Arrows: cli -> report -> lab -> model -> bank -> core -> kernels. $1 files, $2 what they must not include.
arrow() { grep -nE "#include \"$2" $1 /dev/null | say "include against the arrows"; }
arrow 'kernels/*.[ch]' '(quant|tests|data)/'
arrow 'quant/*.[ch]' '(quant/(bank|model|lab|report|cli)|tests|data)/'
arrow 'quant/bank/*.[ch]' '(quant/(model|lab|report|cli)|tests|data)/'
arrow 'quant/lab/*.[ch]' '(quant/(report|cli)|tests|data)/'
arrow 'quant/report/*.[ch]' '(quant/cli|tests|data)/'
arrow 'quant/cli/*.[ch]' '(tests|data)/'
for f in quant/model/*.[ch]; do
    [ -e "$f" ] && arrow "$f" '(quant/(lab|report|cli)|tests|data)/'
done
grep -nE '#include "quant/cli/' kernels/* quant/*.[ch] quant/bank/* quant/lab/* quant/report/* \
    data/*.[ch] 2>/dev/null | say "nothing includes cli"

# Third-party headers: in the one room that needs each.
only() {
    git grep -nE "#include <$1" -- '*.c' '*.h' | grep -vE "^($2):" | say "third-party header"
}
only 'jansson' 'quant/bank/json\.h|quant/report/json_out\.[ch]|tests/[a-z_]*\.[ch]'
only 'zlib' 'quant/bank/[a-z_]*\.c|tests/[a-z_]*\.c'
only '(openblas/)?cblas' 'quant/model/gemm\.c|tests/[a-z_/]*\.c'
only 'lapacke' 'quant/lab/[a-z_]*\.c|tests/[a-z_]*\.c'
only 'fftw3' 'quant/lab/[a-z_]*\.c|tests/[a-z_]*\.c'
only 'gsl/' 'quant/lab/[a-z_]*\.c|tests/[a-z_]*\.c'
only 'dnnl' 'tests/peers/gemm\.c'
only 'sqlite3' 'quant/report/[a-z_]*\.c|tests/[a-z_]*\.c'
only '(CUnit/)' 'tests/[a-z_]*\.[ch]|quant/assert\.h'

# SPDX on the first two lines of every source.
for f in $(git ls-files '*.c' '*.h' '*.def' '*.sh' '*.py' Makefile '.ci/run'); do
    head -n 2 "$f" | grep -q 'SPDX-License-Identifier: ' || echo "$f" | say "no SPDX line"
done
for f in $(git ls-files 'kernels/*.[ch]' 'quant/*.[ch]' | grep -vE '^quant/[a-z]+/'); do
    head -n 1 "$f" | grep -q 'Apache-2.0' || echo "$f" | say "core is Apache-2.0"
done

# Size: file 400 lines (tables exempt), function 40 (SIMD bodies 80), line 100 columns.
for f in $(git ls-files '*.c' '*.h'); do
    n=$(wc -l <"$f")
    [ "$n" -gt 400 ] && echo "$f has $n lines" | say "file over 400 lines"
    limit=40
    case $f in kernels/avx*|kernels/neon*) limit=80 ;; esac
    awk -v f="$f" -v limit="$limit" '/^\{/ {start = NR} /^\}/ && start {
        if (NR - start - 1 > limit) print f ":" start " body of " NR - start - 1 " lines"; start = 0 }' \
        "$f" | say "function over $limit lines"
    awk -v f="$f" 'length($0) > 100 && !/[^ -~]/ {
        print f ":" NR " " length($0) " columns" }' "$f" | say "line over 100 columns"
done
n=$(wc -l <Makefile)
[ "$n" -gt 200 ] && echo "Makefile has $n lines" | say "over 200 lines"

# The version script exports what the public headers declare.
sed '/PRIVATE/,$d' quant/libquant.map | grep -oE 'quant_[a-z0-9_]+;' | tr -d ';' | sort >"$bad.map"
for h in activation assert context encode fidelity gemm gemv kmeans1d observer predict quant random scheme shape status; do
    gcc -fpreprocessed -dD -E -P "quant/$h.h" 2>/dev/null
done | grep -v '^#' | tr '\n' ' ' | grep -oE '(^|[ *])quant_[a-z0-9_]+\(' | tr -d ' *(' |
    grep -v '^quant_assert_metric$' | sort -u >"$bad.api"
diff "$bad.map" "$bad.api" | grep '^[<>]' | say "version script against public headers"
rm -f "$bad.map" "$bad.api"

# Words that have no place in a finished tree.
git grep -nwIE 'TODO|FIXME|XXX|not implemented' -- '*.c' '*.h' '*.sh' '*.py' ':!tests/lint.sh' |
    say "unfinished"
git grep -nE '(^|[^a-z.])/(home|root|work)/' -- . ':!tests/lint.sh' | say "path of a machine"
git grep -nE 'strtod\(|setlocale\(|rand\(\)|srand\(|alloca\(|gets\(|strcpy\(' -- 'quant/*.c' 'kernels/*.c' |
    say "call with a trap"

# Every public header stands alone, in C and, where a C++ compiler is, in C++.
for h in quant/*.h quant/bank/*.h quant/lab/*.h quant/report/*.h; do
    echo "#include \"$h\"" | gcc -std=c11 -D_GNU_SOURCE -Wall -Wextra -Wpedantic -I. -fsyntax-only -x c - ||
        echo "$h" | say "does not stand alone"
done
if command -v g++ >/dev/null; then
    echo '#include "quant/quant.h"' | g++ -std=c++17 -Wall -Wextra -I. -fsyntax-only -x c++ - ||
        echo quant/quant.h | say "not C++"
else
    echo "lint: skipped C++ check of the headers: no g++"
fi

if [ -s "$bad" ]; then
    cat "$bad"
    echo "lint: $(wc -l <"$bad") offences"
    exit 1
fi
echo "lint: clean"
