# SPDX-License-Identifier: GPL-3.0-or-later
"""The forward pass of data/README.md in float64 NumPy, for golden values and for sampling.

Written for reading, not for speed: every projection is one matrix product, every expert works on
the rows that chose it. `Cache` keeps keys and values, so that text can be sampled token by token.
"""
import math

import numpy as np


def norm(x, weight, eps):
    return x / np.sqrt(np.mean(x * x, -1, keepdims=True) + eps) * weight


def gelu(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3)))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def rotate(x, position, theta):
    """x [n, s, heads, dim]; element i turns with i + dim/2 by position * theta^(-2i/dim)."""
    half = x.shape[-1] // 2
    angle = position[:, None] * theta ** (-np.arange(half) / half)
    cos, sin = np.cos(angle)[:, None, :], np.sin(angle)[:, None, :]
    a, b = x[..., :half], x[..., half:]
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)


class Reference:
    def __init__(self, config, weights):
        """weights: name -> array; converted to float64."""
        self.c = config
        self.w = {k: np.asarray(v, np.float64) for k, v in weights.items()}

    def forward(self, tokens, cache=None):
        """tokens [n, s] -> logits [n, s, vocab], hidden [layers, n, s, width], routing.

        With a cache (a dict, empty at first) tokens continue what it holds. routing is a list of
        (experts [n, s, k], weights [n, s, k]), the larger weight first.
        """
        start = cache.get("length", 0) if cache is not None else 0
        position = np.arange(start, start + tokens.shape[1])
        embedding = self.w["model.embed_tokens.weight"]
        h = embedding[tokens] * math.sqrt(self.c["hidden_size"])
        hidden, routing = [], []
        for layer in range(self.c["num_hidden_layers"]):
            h, route = self.block(h, layer, position, cache)
            hidden.append(h)
            routing.append(route)
        if cache is not None:
            cache["length"] = start + tokens.shape[1]
        cap = self.c["final_logit_softcapping"]
        logits = norm(h, self.w["model.norm.weight"], self.c["rms_norm_eps"]) @ embedding.T
        return cap * np.tanh(logits / cap), np.stack(hidden), routing

    def block(self, h, layer, position, cache):
        p, eps = f"model.layers.{layer}.", self.c["rms_norm_eps"]
        x = norm(h, self.w[p + "input_layernorm.weight"], eps)
        y = self.attention(x, layer, position, cache)
        h = h + norm(y, self.w[p + "post_attention_layernorm.weight"], eps)
        x = norm(h, self.w[p + "pre_feedforward_layernorm.weight"], eps)
        chosen, weight = self.route(x, p)
        y = self.dense(x, p) + self.experts(x, chosen, weight, p)
        return h + norm(y, self.w[p + "post_feedforward_layernorm.weight"], eps), (chosen, weight)

    def attention(self, x, layer, position, cache):
        c, p = self.c, f"model.layers.{layer}.self_attn."
        everywhere = (layer + 1) % c["sliding_window_pattern"] == 0
        theta = c["rope_theta"] if everywhere else c["rope_local_base_freq"]
        split = (*x.shape[:2], -1, c["head_dim"])
        q, k, v = ((x @ self.w[f"{p}{t}_proj.weight"].T).reshape(split) for t in "qkv")
        q = rotate(norm(q, self.w[p + "q_norm.weight"], c["rms_norm_eps"]), position, theta)
        k = rotate(norm(k, self.w[p + "k_norm.weight"], c["rms_norm_eps"]), position, theta)
        if cache is not None:
            if layer in cache:
                k, v = (np.concatenate(pair, 1) for pair in zip(cache[layer], (k, v)))
            cache[layer] = (k, v)
        back = position[:, None] - np.arange(k.shape[1])[None, :]
        allowed = (back >= 0) & (everywhere | (back < c["sliding_window"]))
        group = c["num_attention_heads"] // c["num_key_value_heads"]
        k, v = k.repeat(group, 2), v.repeat(group, 2)
        q, k, v = (t.transpose(0, 2, 1, 3) for t in (q, k, v))
        score = q @ k.transpose(0, 1, 3, 2) / math.sqrt(c["head_dim"])
        y = softmax(np.where(allowed, score, -np.inf)) @ v
        return y.transpose(0, 2, 1, 3).reshape(*x.shape[:2], -1) @ self.w[p + "o_proj.weight"].T

    def route(self, x, p):
        share = softmax(x @ self.w[p + "router.proj.weight"].T)
        chosen = np.argsort(-share, -1, kind="stable")[..., :self.c["num_experts_per_tok"]]
        weight = np.take_along_axis(share, chosen, -1)
        return chosen, weight / weight.sum(-1, keepdims=True)

    def dense(self, x, p):
        gate, up, down = (self.w[f"{p}mlp.{t}_proj.weight"] for t in ("gate", "up", "down"))
        return (gelu(x @ gate.T) * (x @ up.T)) @ down.T

    def experts(self, x, chosen, weight, p):
        y = np.zeros_like(x)
        gate, up, down = (self.w[f"{p}experts.{t}_proj"] for t in ("gate", "up", "down"))
        for e in range(self.c["num_experts"]):
            for slot in range(chosen.shape[-1]):
                at = chosen[..., slot] == e
                rows = x[at]
                one = (gelu(rows @ gate[e].T) * (rows @ up[e].T)) @ down[e].T
                y[at] += weight[..., slot][at][:, None] * one
        return y
