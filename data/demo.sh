#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# What `make demo` shows: the trained bank data/moe and its twin, the same function with rescaled
# weights; what schemes lose in the weights, and what the model then says. Prints nothing that
# depends on the run, so that the README can repeat it.
quant=${1:-build/quant} build=$(dirname "${1:-build/quant}")
schemes='int8:tensor,stack=1;int8:channel,stack=1;int4:block=32,stack=1;lut4:group=32,stack=1'

show() { # lines to leave out, command, arguments... ; the output once it is there, or the error
    leave=$1
    shift
    echo "\$ quant $(echo "$*" | sed "s|$schemes|\$SCHEMES|;s|\$SCHEMES|\"&\"|;s|$build/|build/|")"
    "$quant" "$@" >"$build/demo.out" || exit
    sed "$leave" "$build/demo.out"
}
cd "$(dirname "$0")/.." || exit 2
echo "SCHEMES='$schemes'"
echo
show '/^Weight SQNR/,$d' compare data/moe --schemes "$schemes"
echo "\$ build/make_twin data/moe -o build/twin"
"$build/make_twin" data/moe -o "$build/twin" | sed "s|^$build/|build/|"
echo
show '/^Weight SQNR/,$d' compare "$build/twin" --schemes "$schemes"
for model in data/moe "$build/twin"; do
    show '/^weights; outputs/,$!d' propagate $model --tokens data/moe/golden.npz --schemes "$schemes"
    echo
done
rm -f "$build/demo.out"
