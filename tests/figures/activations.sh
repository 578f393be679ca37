#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# 8-bit activations in whole models: ranges of some sequences, weights, outputs, logits and
# perplexity of others.
#     sh tests/figures/activations.sh MODEL TOKENS CALIBRATE EVALUATE     (FIRST..LAST each)
quant=${QUANT:-build/quant}
stats=$(mktemp -u) && trap 'rm -f "$stats"' EXIT
schemes='int8:channel'
for observer in minmax ema percentile:99.99 mse entropy; do
    schemes="$schemes;w8a8,act=static,obs=$observer"
done
"$quant" calibrate "$1" --tokens "$2" --sequences "$3" -o "$stats" --quiet >/dev/null || exit
schemes="$schemes;w8a8;lut4:group=32,lut=int8;w4a8,act=static;w4a8"
"$quant" propagate "$1" --tokens "$2" --sequences "$4" --stats "$stats" --quiet \
    --schemes "$schemes" | sed -n '/^weights; outputs/,$p'
