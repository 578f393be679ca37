#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# The extra tier behind `make extra`: libquant on AArch64, cross-built and run by qemu's user mode,
# or as it is on a machine that is one. Every step runs, the last line counts them. `make deps-extra`
# installs what it needs; without that it says so and passes.
cd "$(dirname "$0")/../.." || exit 2
. tests/steps.sh

if [ "$(uname -m)" = aarch64 ]; then
    compiler=${CC:-gcc} emulator=
else
    compiler=${CROSS_CC:-aarch64-linux-gnu-gcc} emulator=${QEMU:-qemu-aarch64}
fi
for tool in $compiler $emulator; do
    command -v "$tool" >/dev/null || {
        echo "skipped: AArch64, because $tool is not here (make deps-extra)"
        echo "0 passed, 0 failed"
        exit 0
    }
done
there=build/aarch64/tests

# Linked statically, so that the C library comes along; what the linker says of dlopen in libgomp goes
# unheard.
quietly() { "$@" >build/extra.log 2>&1 || { cat build/extra.log; return 1; }; }
cross_build() {
    mkdir -p build
    LDFLAGS=-static CPPFLAGS='-Itests/extra -DSUITES_DEF="\"tests/extra/suites.def\""' \
        quietly make -s -j2 CC="$compiler" B=build/aarch64 build/aarch64/libquant.a $there/core \
        $there/digests
}
# Which of the two sides has which level; a level of other processors means scalar.
levels() {
    [ "$($emulator $there/digests --isa)" = neon ] &&
        [ "$(QUANT_ISA=neon $emulator $there/digests --isa)" = neon ] &&
        [ "$(QUANT_ISA=avx2 $emulator $there/digests --isa)" = scalar ] &&
        { [ -z "$emulator" ] || [ "$(QUANT_ISA=neon build/tests/digests --isa)" = scalar ]; }
}
# One process a suite, as many at a time as there are processors; a suite that fails is shown whole.
suites() {
    names=$(sed -n 's|^SUITE(\(.*\))|\1|p' tests/extra/suites.def)
    rm -rf build/extra && mkdir build/extra || return 1
    echo "$names" | xargs -P "$(nproc)" -I@ sh -c \
        "$emulator $there/core --filter @ --cases ${CASES:-100} >build/extra/@ 2>&1 || echo failed >>build/extra/@"
    for suite in $names; do
        echo "$suite: $(grep -E '^[0-9]+ passed, [0-9]+ failed$' "build/extra/$suite" || echo 'no result')"
        tail -n 1 "build/extra/$suite" | grep -qx failed && cat "build/extra/$suite"
    done
    ! grep -qx failed build/extra/*
}
here_build() { quietly make -s -j2 build/tests/digests; }
same_bytes() {
    build/tests/digests >build/extra.want || return 1
    for run in "neon 1" "neon 3" "scalar 1"; do
        QUANT_ISA=${run% *} $emulator $there/digests "${run#* }" | diff build/extra.want - || return 1
        echo "AArch64, level ${run% *}, threads ${run#* }: the bytes of $(uname -m), level $(build/tests/digests --isa)"
    done
    echo "$(wc -l <build/extra.want) lines alike, SHA-256 $(sha256sum <build/extra.want | cut -c 1-64)"
}

# clang's OpenMP is of another library, so only the kernels are its own.
kernels_by_clang() {
    objects=$(printf 'build/aarch64-clang/obj/%s.o ' kernels/*.c | sed 's/\.c\.o/.o/g')
    quietly make -s -j2 CC="clang --target=aarch64-linux-gnu" B=build/aarch64-clang $objects &&
        quietly $compiler -static -fopenmp -o build/aarch64-clang/digests \
            build/aarch64/obj/tests/extra/digests.o $objects build/aarch64/libquant.a -lm &&
        $emulator build/aarch64-clang/digests | diff build/extra.want -
}

step "AArch64 builds without a warning" cross_build
step "digests build here" here_build
step "levels and their cap" levels
step "suites of libquant on AArch64, level neon" suites
step "same bytes on both machines" same_bytes
if command -v clang >/dev/null; then
    step "same bytes from kernels by clang" kernels_by_clang
else
    echo "skipped: kernels by clang, which is not here"
fi
end_of_steps
