#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# SmoothQuant in whole models: alphas that smooth=search finds by second moments of some sequences,
# outputs, logits and perplexity of others.
#     sh tests/figures/smooth.sh MODEL TOKENS CALIBRATE EVALUATE     (FIRST..LAST each)
quant=${QUANT:-build/quant}
stats=$(mktemp -u) && trap 'rm -f "$stats"' EXIT
schemes='w8a8;w8a8,smooth=search'
for scheme in w8a8 w4a8; do
    schemes="$schemes;$scheme,act=static;$scheme,act=static,smooth=0.5"
    schemes="$schemes;$scheme,act=static,smooth=search"
done
"$quant" calibrate "$1" --tokens "$2" --sequences "$3" --moments -o "$stats" --quiet >/dev/null || exit
"$quant" propagate "$1" --tokens "$2" --sequences "$4" --stats "$stats" --quiet \
    --schemes "$schemes" | awk '
    /smooth=search: alpha of/ { show = 1 }
    /^$/ { show = 0 }
    /^weights; outputs/ { if (!summary++) print "..."; }
    /^where they fall/ { summary = 0 }
    /: perplexity x / { last = 1 }
    show || summary || last || /^intervals/' | sed 's/^/    /'
