# SPDX-License-Identifier: GPL-3.0-or-later
"""Train the mixture-of-experts bank of data/README.md on one CPU core; restartable.

    OMP_NUM_THREADS=1 nice -n 19 python data/train_moe.py --out build/moe --budget 6600

The learning rate warms up, stays, and decays linearly (warm-up, stable, decay). The decay begins
when 65 % of the time budget is used, or when the file OUT/decay appears, or at --decay-from; its
length follows from that step (35/65 of the steps so far), so the pair (decay_from, steps) of the
training record repeats the run: --decay-from S. A checkpoint is written every five minutes and at
SIGTERM; the same command goes on from there. Batches are drawn by (seed, step).
"""
import argparse
import json
import math
import os
import signal
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
import torch.nn.functional as F

import kjv_text
import moe_torch

WARMUP, STABLE_SHARE, BALANCE, ZLOSS, CLIP = 100, 0.65, 0.01, 1e-4, 1.0


def arguments():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--out", default="build/moe")
    p.add_argument("--budget", type=float, default=6600.0, help="seconds of wall-clock time")
    p.add_argument("--decay-from", type=int, help="step at which the decay begins")
    p.add_argument("--seed", type=int, default=20)
    p.add_argument("--batch", type=int, default=4)
    p.add_argument("--rate", type=float, default=2e-3)
    p.add_argument("--compile", action="store_true", help="fuse the fixed-shape parts")
    return p.parse_args()


def rate_at(step, decay_from, last):
    if step < WARMUP:
        return (step + 1) / WARMUP
    if decay_from is None or step < decay_from:
        return 1.0
    return max(0.01, (last - step) / max(1, last - decay_from))


def steps_after(decay_from):
    return decay_from + max(1, round(decay_from * (1 - STABLE_SHARE) / STABLE_SHARE))


def windows(text, seed, step, batch, length):
    start = np.random.default_rng([seed, step]).integers(0, len(text) - length - 1, batch)
    rows = torch.from_numpy(np.stack([text[s:s + length + 1] for s in start]))
    return rows[:, :-1], rows[:, 1:]


def held_out_bits(model, text, batch, length, every):
    """Bits per byte of every `every`-th window; the second half of a window is what is scored."""
    half, bits, count = length // 2, 0.0, 0
    starts = list(range(0, len(text) - length - 1, half * every))
    starts = starts[:len(starts) // batch * batch]
    with torch.no_grad():
        for i in range(0, len(starts), batch):
            rows = torch.from_numpy(np.stack([text[s:s + length + 1] for s in starts[i:i + batch]]))
            logits = model(rows[:, :-1])[0][:, half:]
            bits += F.cross_entropy(logits.reshape(-1, logits.shape[-1]),
                                    rows[:, half + 1:].reshape(-1), reduction="sum").item()
            count += batch * half
    return bits / count / math.log(2)


def fuse():
    for owner, name in ((moe_torch.Block, "first"), (moe_torch.Block, "last"),
                        (moe_torch, "combine"), (moe_torch, "geglu")):
        plain = getattr(owner, name)
        setattr(owner, name, torch.compile(plain, dynamic=False))


def groups(model):
    wide = [p for p in model.parameters() if p.dim() > 1]
    thin = [p for p in model.parameters() if p.dim() <= 1]
    return [{"params": wide, "weight_decay": 0.1}, {"params": thin, "weight_decay": 0.0}]


class Run:
    def __init__(self, a):
        self.a, self.path = a, os.path.join(a.out, "checkpoint.pt")
        self.model = moe_torch.Model(moe_torch.CONFIG, a.seed)
        self.adam = torch.optim.AdamW(groups(self.model), lr=a.rate, betas=(0.9, 0.95),
                                      eps=1e-9, fused=True)
        self.step, self.used, self.decay_from, self.log = 0, 0.0, a.decay_from, []
        self.stop = False
        if os.path.exists(self.path):
            self.load()
        self.text, self.held = (np.frombuffer(t, np.uint8).astype(np.int64)
                                for t in kjv_text.split())

    def load(self):
        s = torch.load(self.path, weights_only=False)
        self.model.load_state_dict(s["model"])
        self.adam.load_state_dict(s["adam"])
        self.step, self.used, self.decay_from, self.log = (s["step"], s["used"], s["decay_from"],
                                                           s["log"])

    def save(self):
        state = {"model": self.model.state_dict(), "adam": self.adam.state_dict(),
                 "step": self.step, "used": self.used, "decay_from": self.decay_from,
                 "log": self.log, "config": moe_torch.CONFIG, "seed": self.a.seed,
                 "batch": self.a.batch, "rate": self.a.rate}
        torch.save(state, self.path + ".new")
        os.replace(self.path + ".new", self.path)

    def schedule(self):
        """True while there are steps to do; decides when the decay begins."""
        due = self.used >= STABLE_SHARE * self.a.budget
        asked = os.path.exists(os.path.join(self.a.out, "decay"))
        if self.decay_from is None and (due or asked) and self.step > WARMUP:
            self.decay_from = self.step
            print(f"decay from step {self.step} to {steps_after(self.step)}", flush=True)
        self.last = None if self.decay_from is None else steps_after(self.decay_from)
        return self.last is None or self.step < self.last

    def one(self):
        length = moe_torch.CONFIG["max_position_embeddings"]
        x, y = windows(self.text, self.a.seed, self.step, self.a.batch, length)
        for group in self.adam.param_groups:
            group["lr"] = self.a.rate * rate_at(self.step, self.decay_from, self.last)
        logits, balance, z = self.model(x)
        loss = F.cross_entropy(logits.view(-1, logits.shape[-1]), y.reshape(-1))
        (loss + BALANCE * balance + ZLOSS * z).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        self.adam.step()
        self.adam.zero_grad()
        self.step += 1
        return loss.item() / np.log(2), balance.item()

    def report(self, bits, balance, speed):
        row = {"step": self.step, "seconds": round(self.used), "train": round(float(bits), 4),
               "balance": round(float(balance), 4), "tokens_per_s": round(speed)}
        if self.step % 500 == 0:
            row["held_out"] = round(float(held_out_bits(self.model, self.held, self.a.batch,
                                                  256, 32)), 4)
        self.log.append(row)
        print(json.dumps(row), flush=True)

    def go(self):
        sums, count, saved, began = np.zeros(2), 0, time.monotonic(), time.monotonic()
        while self.schedule() and not self.stop:
            t = time.monotonic()
            sums, count = sums + self.one(), count + 1
            self.used += time.monotonic() - t
            if self.step % 50 == 0:
                now = time.monotonic()
                tokens = count * self.a.batch * 256
                self.report(*(sums / count), tokens / (now - began))
                sums, count, began = np.zeros(2), 0, time.monotonic()
            if time.monotonic() - saved > 300:
                self.save()
                saved = time.monotonic()
        self.save()
        print("stopped" if self.stop else "done", "at step", self.step, flush=True)


def main():
    a = arguments()
    os.makedirs(a.out, exist_ok=True)
    torch.set_num_threads(1)
    if a.compile:
        fuse()
    run = Run(a)
    signal.signal(signal.SIGTERM, lambda *_: setattr(run, "stop", True))
    print("parameters", sum(p.numel() for p in run.model.parameters()), "step", run.step,
          flush=True)
    run.go()
    raise SystemExit(3 if run.stop else 0)


if __name__ == "__main__":
    main()
