#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Is the calibration enough in other orders of the prompts, and for the logits: what the README shows
# of it, the first scheme's tables without random tokens and inputs, and the verdicts.
#     sh tests/figures/orders.sh MODEL TOKENS [OPTIONS OF calibrate]
quant=${QUANT:-build/quant}
model=$1 tokens=$2
shift 2
"$quant" calibrate "$model" --tokens "$tokens" --enough --draws 5 --logits --quiet "$@" | awk '
    /^over / && !seen++ { show = 1 }
    /^random tokens/ { if (show) print "..."; show = 0 }
    /^logits/ && seen && !logits++ { show = 1 }
    /: (not )?enough/ { words = 1 }
    show || words
' | sed 's/^/    /; s/^ *$//'
