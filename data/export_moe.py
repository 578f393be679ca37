# SPDX-License-Identifier: GPL-3.0-or-later
"""A checkpoint of train_moe.py -> config.json, model.safetensors (bf16), tokens.npy, golden.npz,
training.json.

    OMP_NUM_THREADS=1 python data/export_moe.py build/moe data/moe

Everything but the training curve is computed from the weights as rounded to bf16: tokens.npy is
sampled and golden.npz is computed in float64 by moe_reference.py, and the held-out bits per byte
are those of the rounded weights.
"""
import argparse
import json
import os
import zipfile

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from safetensors.torch import save_file

import kjv_text
import moe_torch
import ngram
from moe_reference import Reference
from train_moe import held_out_bits, steps_after

CALIBRATION, EVALUATION, LENGTH, HIDDEN = 64, 32, 256, 96
NEWLINE = 10


def arguments():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("run")
    p.add_argument("out")
    p.add_argument("--seed", type=int, default=20, help="seed of the sampled text")
    p.add_argument("--every", type=int, default=1, help="score every N-th held-out window")
    return p.parse_args()


def rounded(state):
    """Hugging Face names -> bf16 tensors; model. in front, experts without .weight."""
    return {f"model.{k}": v.to(torch.bfloat16).contiguous() for k, v in state.items()}


def sample(reference, seed):
    """Token 0 is a newline, every other one is drawn at temperature 1."""
    rng = np.random.default_rng(seed)
    tokens = np.full((CALIBRATION + EVALUATION, LENGTH), NEWLINE, np.int32)
    cache = {}
    for s in range(1, LENGTH):
        logits = reference.forward(tokens[:, s - 1:s], cache)[0][:, 0]
        share = np.exp(logits - logits.max(-1, keepdims=True))
        edge = np.cumsum(share, -1)
        draw = rng.random((len(tokens), 1)) * edge[:, -1:]
        tokens[:, s] = (edge <= draw).sum(-1)
    return tokens


def write_npz(path, arrays):
    """Deflated, with a fixed time stamp, so that the same arrays give the same bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z:
        for name, array in arrays.items():
            with z.open(zipfile.ZipInfo(name + ".npy", (1980, 1, 1, 0, 0, 0)), "w") as f:
                np.lib.format.write_array(f, np.ascontiguousarray(array))


def golden(reference, tokens):
    logits, hidden, routing = reference.forward(tokens)
    return {"tokens": tokens.astype(np.int32),
            "logits_full": logits.astype(np.float32),
            "hidden_first": hidden[:, 0, :HIDDEN].astype(np.float32),
            "experts": np.stack([r[0] for r in routing]).astype(np.int32),
            "expert_weights": np.stack([r[1] for r in routing]).astype(np.float32)}


def perplexity(logits, tokens):
    z = logits[:, :-1] - logits[:, :-1].max(-1, keepdims=True)
    z = z - np.log(np.exp(z).sum(-1, keepdims=True))
    return float(np.exp(-np.mean(np.take_along_axis(z, tokens[:, 1:, None].astype(int), -1))))


def expert_shares(experts, count):
    """Over the golden tokens: the smallest and the largest share of one expert in a layer."""
    share = np.stack([np.bincount(e.ravel(), minlength=count) / e.size for e in experts])
    return round(float(share.min()), 4), round(float(share.max()), 4)


def agree(model, weights, tokens, want):
    """Largest difference between the float32 PyTorch model and the float64 reference."""
    model.load_state_dict({k[len("model."):]: v.float() for k, v in weights.items()})
    with torch.no_grad():
        got = model(torch.from_numpy(tokens.astype(np.int64)))[0].numpy()
    return float(np.abs(got - want).max())


def record(a, s, bits, g, worst):
    config = s["config"]
    return {
        "text": "King James Version, Debian bible-kjv-text; every 20th chapter held out",
        "seed": s["seed"], "batch": s["batch"], "context": config["max_position_embeddings"],
        "learning_rate": s["rate"], "optimizer": "AdamW 0.9 0.95, weight decay 0.1, clip 1",
        "steps": s["step"], "decay_from": s["decay_from"],
        "complete": s["decay_from"] is not None and s["step"] >= steps_after(s["decay_from"]),
        "tokens": s["step"] * s["batch"] * config["max_position_embeddings"],
        "seconds": round(s["used"]),
        "parameters": sum(v.numel() for v in s["model"].values()),
        "held_out_bits_per_byte": round(bits, 4),
        "held_out_windows": "all" if a.every == 1 else f"every {a.every}th",
        "ngram_bits_per_byte": ngram.table(range(2, 7)),
        "golden_perplexity": round(perplexity(g["logits_full"], g["tokens"]), 4),
        "golden_expert_share_min_max": expert_shares(g["experts"], config["num_experts"]),
        "torch_float32_max_abs_logit_difference": float(f"{worst:.3g}"),
        "curve": s["log"],
    }


def main():
    a = arguments()
    torch.set_num_threads(1)
    os.makedirs(a.out, exist_ok=True)
    at = lambda name: os.path.join(a.out, name)
    s = torch.load(os.path.join(a.run, "checkpoint.pt"), weights_only=False)
    weights = rounded(s["model"])
    save_file(weights, at("model.safetensors"), {"format": "pt", "text": "King James Version"})
    os.chmod(at("model.safetensors"), 0o644)
    with open(at("config.json"), "w") as f:
        json.dump(s["config"], f, indent=1)
        f.write("\n")
    reference = Reference(s["config"], {k: v.double().numpy() for k, v in weights.items()})
    tokens = sample(reference, a.seed)
    np.save(at("tokens.npy"), tokens)
    held = np.frombuffer(kjv_text.split()[1], np.uint8).astype(np.int64)
    rows = np.stack([held[:LENGTH], held[100000:100000 + LENGTH], *tokens[-2:]])
    g = golden(reference, rows)
    write_npz(at("golden.npz"), g)
    model = moe_torch.Model(s["config"], 0)
    worst = agree(model, weights, g["tokens"], g["logits_full"])
    bits = held_out_bits(model, held, 4, LENGTH, a.every)
    with open(at("training.json"), "w") as f:
        json.dump(record(a, s, bits, g, worst), f, indent=1)
        f.write("\n")
    print(f"held-out {bits:.4f} bits per byte, torch float32 against the reference {worst:.3g}")
    print(bytes(tokens[0].astype(np.uint8)).decode("ascii", "replace"))


if __name__ == "__main__":
    main()
