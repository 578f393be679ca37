# SPDX-License-Identifier: GPL-3.0-or-later
"""Bits per byte of byte n-gram models on the held-out text: the yardstick for the trained bank.

"order k" predicts a byte from the k bytes before it. Two smoothings, both interpolated down to
the uniform distribution over 256 bytes: Witten-Bell, and Kneser-Ney with the three discounts of
Chen and Goodman 1999. Needs numpy only.
"""
import json
import sys

import numpy as np

import kjv_text


def keys(text, length):
    """One integer for each window of `length` bytes (length <= 7)."""
    n = len(text) - length + 1
    key = np.zeros(n, np.int64)
    for i in range(length):
        key = (key << 8) | text[i:i + n]
    return key


def lookup(table, values, wanted, absent=0.0):
    at = np.minimum(np.searchsorted(table, wanted), len(table) - 1)
    return np.where(table[at] == wanted, values[at], absent)


def counts_of(train, length, continuation):
    """Distinct windows with their counts, or with the number of distinct bytes seen before."""
    if not continuation:
        return np.unique(keys(train, length), return_counts=True)
    longer = np.unique(keys(train, length + 1))
    return np.unique(longer & ((1 << (8 * length)) - 1), return_counts=True)


def discounts(count):
    n = [max(int(np.sum(count == c)), 1) for c in (1, 2, 3, 4)]
    y = n[0] / (n[0] + 2 * n[1])
    d = [1 - 2 * y * n[1] / n[0], 2 - 3 * y * n[2] / n[1], 3 - 4 * y * n[3] / n[2]]
    return np.array([0.0] + [min(max(v, 0.05), c + 0.95) for c, v in enumerate(d)])


def shares(gram, count, kneser_ney):
    """Per context: (contexts, total, weight that goes to the next lower order)."""
    context, at = np.unique(gram >> 8, return_inverse=True)
    total = np.bincount(at, count)
    if kneser_ney:
        d = discounts(count)
        return context, total, np.bincount(at, d[np.minimum(count, 3)]), d
    return context, total, np.bincount(at).astype(float), np.zeros(4)


def probabilities(train, text, order, kneser_ney):
    """P of each byte of text[order:] given the `order` bytes before it."""
    p = np.full(len(text) - order, 1.0 / 256)
    for k in range(order + 1):
        gram, count = counts_of(train, k + 1, kneser_ney and k < order)
        context, total, back, d = shares(gram, count, kneser_ney)
        want = keys(text[order - k:], k + 1)
        seen = lookup(gram, count, want).astype(np.int64)
        n = lookup(context, total, want >> 8)
        b = lookup(context, back, want >> 8)
        kept = seen - d[np.minimum(seen, 3)]
        if kneser_ney:
            mixed = (kept + b * p) / np.maximum(n, 1)
        else:
            mixed = (seen + b * p) / np.maximum(n + b, 1)
        p = np.where(n > 0, mixed, p)
    return p


def bits_per_byte(train, held, order, kneser_ney):
    text = np.concatenate([train[-order:] if order else train[:0], held])
    return float(-np.mean(np.log2(probabilities(train, text, order, kneser_ney))))


def table(orders):
    train, held = (np.frombuffer(t, np.uint8).astype(np.int64) for t in kjv_text.split())
    rows = []
    for order in orders:
        rows.append({"order": order,
                     "witten_bell": round(bits_per_byte(train, held, order, False), 4),
                     "kneser_ney": round(bits_per_byte(train, held, order, True), 4)})
    return rows


if __name__ == "__main__":
    result = table(range(1, 7))
    print(json.dumps(result) if "--json" in sys.argv else
          "\n".join(f"order {r['order']}: witten-bell {r['witten_bell']:.4f}, "
                    f"kneser-ney {r['kneser_ney']:.4f} bits per byte" for r in result))
