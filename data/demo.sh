#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# What `make demo` shows: the bundled bank under the default schemes, weights and outputs.
quant=${1:-build/quant}
echo "\$ quant inspect data/demo.safetensors"
"$quant" inspect data/demo.safetensors || exit
echo
echo "\$ quant compare data/demo.safetensors --probe 5"
"$quant" compare data/demo.safetensors --probe 5
