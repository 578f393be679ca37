# SPDX-License-Identifier: GPL-3.0-or-later
"""A peer of `make bench-peers`: coremltools' grouped palettization of an f16 array, one worker.

Reads lines: ready -> 1; sse -> the squared error of the result; run -> processor seconds of one call."""
import os
import sys
import time

answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what coremltools prints is no answer

import logging

logging.disable(logging.WARNING)
import numpy as np
from coremltools.optimize.coreml._quantization_passes import palettize_weights

w = np.fromfile(sys.argv[1], np.float32).reshape(-1, int(sys.argv[2])).astype(np.float16)


def compress():
    return palettize_weights.grouped_channelwise_compress(w, "KMEANS", 4, 0, 32, None, 1, 1)


def seconds():
    begin = time.process_time()
    compress()
    return time.process_time() - begin


def sse():
    y = palettize_weights.decompress(compress()).astype(np.float64)
    return float(np.square(y - w.astype(np.float64)).sum())


verbs = {"ready": lambda: 1.0, "sse": sse, "run": seconds}
for line in sys.stdin:
    print(repr(float(verbs[line.strip()]())), file=answers, flush=True)
