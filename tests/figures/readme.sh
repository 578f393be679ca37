#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Put what commands print into the README, between <!-- NAME --> and <!-- end -->.
#     sh tests/figures/readme.sh NAME FILE     FILE holds the text
# NAME and its command:
#     compare   build/quant compare BANKS/stories260k/model.safetensors --probe 5 | head -n 27
#     outliers  make figures
#     beliefs   build/tests/main --filter beliefs | grep pairs
#     activations, activations-moe   sh tests/figures/activations.sh MODEL TOKENS CALIBRATE EVALUATE
#     activations-smooth   sh tests/figures/smooth.sh MODEL TOKENS CALIBRATE EVALUATE
#     propagate build/quant propagate BANKS/stories260k --tokens BANKS/stories260k/tokens.npy --schemes ...
#     bench     build/tests/bench schemes
#     enough    build/quant calibrate BANKS/stories260k --tokens BANKS/stories260k/tokens.npy --enough
#     enough-orders  sh tests/figures/orders.sh BANKS/stories260k BANKS/stories260k/tokens.npy
#     enough-moe  build/quant calibrate data/moe --tokens data/moe/tokens.npy --enough --sequences 0..63 \
#                 --held-out 64..95: the first 20 lines, and the sentences
#     peers     make bench-peers | sed 's/^/    /'
#     bench-model  build/tests/bench model
#     demo      sh data/demo.sh build/quant | sed '/./s/^/    /'
#     twin      sh tests/figures/twin.sh build/quant
awk -v name="$1" -v file="$2" '
    $0 == "<!-- " name " -->" {
        print
        while ((getline line < file) > 0) print line
        skip = 1
        next
    }
    $0 == "<!-- end -->" { skip = 0 }
    !skip
' README.md >README.new && mv README.new README.md
