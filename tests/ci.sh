#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# The longer tier behind `make ci`: what takes minutes or a second compiler. Every step runs, the
# last line counts them.
cd "$(dirname "$0")/.." || exit 2
. tests/steps.sh

digests() { # command, threads, ISA cap: one line per thing that must not change
    for scheme in int8:tensor int8:channel,asym int4:block=32,scale=mse int4:block=32,asym lut4:group=32 \
        lut2:group=32,lut=bf16 lut4:group=32,lut=int8 lut3:group=8,pcs lut4:tensor,dim=2 int3:channel,scale=percentile:99.5; do
        QUANT_ISA=$3 "$1" encode data/demo.safetensors -o build/ci.pack --force --threads "$2" \
            --scheme "$scheme" --quiet >/dev/null || return 1
        echo "$scheme $(sha256sum <build/ci.pack)"
    done
    QUANT_ISA=$3 "$1" compare data/demo.safetensors --format json --threads "$2" --predict |
        sha256sum
}

same_bytes_everywhere() {
    digests build/quant 1 avx2 >build/ci.want || return 1
    for command in build/quant build/clang/quant; do
        for threads in 1 2 3; do
            for isa in scalar avx2 avx512 avx512vnni avx512vbmi; do
                digests $command $threads $isa | diff build/ci.want - || return 1
            done
        done
    done
    echo "one SHA-256 for gcc and clang, 1 2 3 threads, scalar to avx512vbmi as far as they run here:"
    cat build/ci.want
}

# What the command does not reach: curves, activations, products, predictions; and a C library whose
# own log10 and exp give other last digits, as on a processor without fused multiply-add.
same_digests_everywhere() {
    make -s build/tests/digests && make -s CC=clang B=build/clang build/clang/tests/digests &&
        build/tests/digests >build/ci.want || return 1
    for isa in scalar avx2 avx512 avx512vnni avx512vbmi; do
        QUANT_ISA=$isa build/clang/tests/digests 3 | diff build/ci.want - || return 1
    done
    GLIBC_TUNABLES=glibc.cpu.hwcaps=-FMA,-FMA4,-AVX2 build/tests/digests | diff build/ci.want -
}

peak_memory() { # of compare on one stack of 45056 x 704 float weights, 127 MB
    build/make_bank -o build/ci.stack --seed 1 --dist gaussian --tensor stack=45056x704 || return 1
    limit=$((317 * 1000 * 1000 / 1024))
    peak=$(build/tests/peak build/quant compare build/ci.stack --quiet) || return 1
    rm -f build/ci.stack
    echo "compare, default schemes, one 127 MB stack: peak $peak KiB, limit $limit KiB"
    [ "$peak" -le "$limit" ]
}

peak_of_one_table() { # exact k-means of 2^26 floats, no two alike, of the whole process: 4 times them at most
    build/tests/distinct build/ci.table 26 || return 1
    limit=$((4 * 4 * 67108864 / 1024))
    peak=$(build/tests/peak build/quant encode build/ci.table -o build/ci.pack --force --threads 1 \
        --scheme lut4:tensor --quiet) || return 1
    rm -f build/ci.table build/ci.pack
    echo "encode, lut4:tensor, one 268 MB tensor: peak $peak KiB, limit $limit KiB"
    [ "$peak" -le "$limit" ]
}

installed_library_works() {
    rm -rf build/inst && make -s install DESTDIR="$PWD/build/inst" PREFIX=/usr >/dev/null || return 1
    sed -n '/^```c example/,/^```$/p' README.md | sed '1d;$d' >build/ci_example.c
    gcc -std=c11 -Wall -Wextra -Ibuild/inst/usr/include build/ci_example.c -o build/ci_example \
        -Lbuild/inst/usr/lib -lquant -lm && LD_LIBRARY_PATH=build/inst/usr/lib build/ci_example
}

# Figures that a float GEMM has a part in: the last digits are the machine's.
demo_prints_the_readme() {
    sh data/demo.sh build/quant >build/ci.demo || return 1
    sed -n '/^<!-- demo -->$/,/^<!-- end -->$/p' README.md | sed '1d;$d' |
        awk 'NR == FNR { want[FNR] = $0; lines = FNR; next }
            { n = split(want[FNR], a, " "); if (n != NF) exit bad = 1
              for (i = 1; i <= n; i++) {
                  x = a[i]; y = $i; gsub(/[()]/, "", x); gsub(/[()]/, "", y)
                  d = x - y; d = d < 0 ? -d : d; m = x < 0 ? -x : x
                  if (x != y && (x + 0 == 0 || d > 0.03 * m)) {
                      print "line " FNR ": " a[i] " in the README, " $i " now"; bad = 1 } } }
            END { exit bad || FNR != lines }' - build/ci.demo
}
with_clang() { make -s -j2 CC=clang B=build/clang test-programs; }
# A tenth of the random cases: all of them ran above, with what these two share.
clang_tests() { EXAMPLE_CC=clang QUANT=build/clang/quant build/clang/tests/main --cases 100; }
# As on a processor that is no x86, and as with a compiler that stops at AVX2.
older_builds() {
    for lacks in X86= AVX512=; do
        make -s -j2 $lacks "B=build/older" test-programs >/dev/null &&
            build/older/tests/main --filter kernels >build/older/log ||
            { cat build/older/log; return 1; }
        grep '^skipped: level' build/older/log
        rm -rf build/older
    done
}
scalar_tests() { QUANT_ISA=scalar QUANT=build/quant build/tests/main --cases 100; }

step "tests, longer tier" env QUANT=build/quant build/tests/main --long
step "tests with scalar kernels" scalar_tests
step "builds without vector levels" older_builds
step "clang builds without a warning" with_clang
step "tests built by clang" clang_tests
step "same bytes everywhere" same_bytes_everywhere
step "same digests everywhere" same_digests_everywhere
step "peak memory" peak_memory
step "peak memory of one table" peak_of_one_table
step "notebooks" make -s notebooks
step "make demo prints what the README says" demo_prints_the_readme
step "installed library and the README's example" installed_library_works
step "address and undefined-behaviour sanitizers" make -s -j2 asan
step "lint" sh tests/lint.sh
end_of_steps
