#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Which rescaling which scheme survives: for the tensors on either side of a move, the divergence of
# the logits before and after only that move was made. Takes some minutes.
quant=${1:-build/quant} build=$(dirname "${1:-build/quant}")
schemes='int8:tensor int8:channel int8:channel,axis=1 int4:block=32 lut4:group=32'
cd "$(dirname "$0")/../.." || exit 2

divergences() { # model, glob: mean KL under each scheme
    "$quant" propagate "$1" --tokens data/moe/golden.npz --tensors "$2" --schemes \
        "$(for s in $schemes; do printf '%s,stack=1;' "$s"; done | sed 's/;$//')" |
        sed '1,/^weights; outputs/d' | awk '$2 ~ /^[0-9]+[.][0-9][0-9]$/ {print $7}'
}

row() { # moves, what they do to the tensors, glob
    "$build/make_twin" data/moe -o "$build/moved" --moves "$1" >"$build/moved.out" || exit
    divergences data/moe "$3" >"$build/own.out"
    divergences "$build/moved" "$3" >"$build/moved.out"
    printf '| %s | `%s` |' "$2" "$3"
    paste "$build/own.out" "$build/moved.out" | awk '{printf " %s → %s |", $1, $2}'
    echo
}

echo "Mean KL of the logits in nats, before → after the move, only the named tensors quantized"
echo
echo "| the move rescales | of tensors |$(for s in $schemes; do printf ' %s |' "$s"; done)"
echo "|---|---|---|---|---|---|---|"
row values rows '*.v_proj.weight'
row inner rows '*.up_proj*'
row values columns '*.o_proj.weight'
row inner columns '*.down_proj*'
row norms columns '*.q_proj.weight'
row norms columns '*.gate_proj*'
rm -rf "$build/moved" "$build/moved.out" "$build/own.out"
