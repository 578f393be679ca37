# SPDX-License-Identifier: GPL-3.0-or-later
"""The mixture-of-experts language model of data/README.md, written for training in PyTorch.

data/moe_reference.py is the same forward pass in float64 NumPy, written apart from this one;
data/export_moe.py compares the two.
"""
import math

import torch
import torch.nn.functional as F
from torch import nn

CONFIG = {
    "architectures": ["QuantMoeForCausalLM"],
    "model_type": "quant_moe",
    "hidden_size": 96,
    "num_hidden_layers": 24,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 24,
    "intermediate_size": 128,
    "moe_intermediate_size": 64,
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "vocab_size": 256,
    "max_position_embeddings": 256,
    "sliding_window": 64,
    "sliding_window_pattern": 6,
    "rope_theta": 100000.0,
    "rope_local_base_freq": 10000.0,
    "rms_norm_eps": 1e-6,
    "hidden_activation": "gelu_pytorch_tanh",
    "final_logit_softcapping": 30.0,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
}


def is_global(config, layer):
    return (layer + 1) % config["sliding_window_pattern"] == 0


class Norm(nn.Module):
    def __init__(self, width, eps, start=1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.full((width,), start))
        self.eps = eps

    def forward(self, x):
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


def rope_tables(length, dim, theta):
    """cos and sin [length, dim]: frequency i serves elements i and i + dim/2."""
    frequency = theta ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    angle = torch.arange(length, dtype=torch.float64)[:, None] * frequency[None, :]
    return torch.cat([angle, angle], 1).cos().float(), torch.cat([angle, angle], 1).sin().float()


def rotate(x, cos, sin):
    a, b = x.chunk(2, -1)
    return x * cos + torch.cat([-b, a], -1) * sin


class Attention(nn.Module):
    def __init__(self, c, layer):
        super().__init__()
        self.heads, self.kv, self.dim = (c["num_attention_heads"], c["num_key_value_heads"],
                                         c["head_dim"])
        self.window = None if is_global(c, layer) else c["sliding_window"]
        w = c["hidden_size"]
        self.q_proj = nn.Linear(w, self.heads * self.dim, bias=False)
        self.k_proj = nn.Linear(w, self.kv * self.dim, bias=False)
        self.v_proj = nn.Linear(w, self.kv * self.dim, bias=False)
        self.o_proj = nn.Linear(self.heads * self.dim, w, bias=False)
        self.q_norm = Norm(self.dim, c["rms_norm_eps"])
        self.k_norm = Norm(self.dim, c["rms_norm_eps"])

    def forward(self, x, tables):
        n, s, _ = x.shape
        cos, sin = tables["global" if self.window is None else "local"]
        split = (n, s, -1, self.dim)
        all_three = torch.cat([self.q_proj.weight, self.k_proj.weight, self.v_proj.weight])
        q, k, v = F.linear(x, all_three).view(split).split([self.heads, self.kv, self.kv], 2)
        q = rotate(self.q_norm(q).transpose(1, 2), cos[:s], sin[:s])
        k = rotate(self.k_norm(k).transpose(1, 2), cos[:s], sin[:s])
        v = v.transpose(1, 2)
        group = self.heads // self.kv
        if self.window is None or s <= self.window:
            y = F.scaled_dot_product_attention(q, k.repeat_interleave(group, 1),
                                               v.repeat_interleave(group, 1), is_causal=True)
        else:
            y = self.local(q, k, v, tables["mask"])
        return self.o_proj(y.transpose(1, 2).reshape(n, s, -1))

    def local(self, q, k, v, mask):
        """Blocks of one window of queries against their own and the previous block of keys."""
        n, _, s, d = q.shape
        w, group = self.window, self.heads // self.kv
        b = s // w
        q = q.reshape(n, self.kv, group, b, w, d).transpose(2, 3).reshape(-1, group * w, d)
        pair = [torch.cat([F.pad(t, (0, 0, w, 0))[:, :, :s].reshape(n, self.kv, b, w, d),
                           t.reshape(n, self.kv, b, w, d)], 3).reshape(-1, 2 * w, d)
                for t in (k, v)]
        score = torch.baddbmm(mask[:b].repeat(n * self.kv, group, 1), q, pair[0].transpose(1, 2),
                              alpha=1 / math.sqrt(d))
        y = torch.bmm(score.softmax(-1), pair[1])
        y = y.reshape(n, self.kv, b, group, w, d).transpose(2, 3)
        return y.reshape(n, self.heads, s, d)


def local_mask(blocks, w):
    """[blocks, w, 2w]: 0 where 0 <= i - j < w and the key exists, else -inf."""
    i = torch.arange(w)[:, None] + w
    j = torch.arange(2 * w)[None, :]
    ok = ((i - j >= 0) & (i - j < w)).repeat(blocks, 1, 1)
    ok[0, :, :w] = False
    return torch.where(ok, 0.0, -math.inf)


class Dense(nn.Module):
    def __init__(self, c):
        super().__init__()
        w, inner = c["hidden_size"], c["intermediate_size"]
        self.gate_proj = nn.Linear(w, inner, bias=False)
        self.up_proj = nn.Linear(w, inner, bias=False)
        self.down_proj = nn.Linear(inner, w, bias=False)

    def forward(self, x):
        both = torch.cat([self.gate_proj.weight, self.up_proj.weight])
        return self.down_proj(geglu(F.linear(x, both)))


class Experts(nn.Module):
    """Stacked [experts, out, in]; tokens are sorted by expert, each expert sees its own slice."""

    def __init__(self, c):
        super().__init__()
        e, w, inner = c["num_experts"], c["hidden_size"], c["moe_intermediate_size"]
        self.gate_proj = nn.Parameter(torch.empty(e, inner, w))
        self.up_proj = nn.Parameter(torch.empty(e, inner, w))
        self.down_proj = nn.Parameter(torch.empty(e, w, inner))

    def forward(self, x, chosen, weight):
        k = chosen.shape[1]
        order = chosen.flatten().argsort(stable=True)
        count = torch.bincount(chosen.flatten(), minlength=self.gate_proj.shape[0]).tolist()
        token = order // k
        rows = x.index_select(0, token).split(count)
        both = torch.cat([self.gate_proj, self.up_proj], 1).transpose(1, 2).unbind(0)
        h = geglu(torch.cat([r @ m for r, m in zip(rows, both)]))
        down = self.down_proj.transpose(1, 2).unbind(0)
        y = torch.cat([r @ m for r, m in zip(h.split(count), down)])
        return combine(x, token, y, weight.flatten()[order])


def geglu(both):
    gate, up = both.chunk(2, -1)
    return F.gelu(gate, approximate="tanh") * up


def combine(x, token, y, weight):
    return torch.zeros_like(x).index_add(0, token, y * weight[:, None])


class Router(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.k, self.experts = c["num_experts_per_tok"], c["num_experts"]
        self.proj = nn.Linear(c["hidden_size"], self.experts, bias=False)

    def forward(self, x):
        """(chosen [n, k], weights [n, k], balance loss, z loss)."""
        score = self.proj(x)
        p = score.softmax(-1)
        top, chosen = p.topk(self.k, -1)
        share = torch.bincount(chosen.flatten(), minlength=self.experts) / chosen.numel()
        balance = self.experts * (share * p.mean(0)).sum()
        return (chosen, top / top.sum(-1, keepdim=True), balance,
                score.logsumexp(-1).square().mean())


class Block(nn.Module):
    def __init__(self, c, layer):
        super().__init__()
        w, eps = c["hidden_size"], c["rms_norm_eps"]
        after = 1 / math.sqrt(2 * c["num_hidden_layers"])
        self.input_layernorm = Norm(w, eps)
        self.self_attn = Attention(c, layer)
        self.post_attention_layernorm = Norm(w, eps, after)
        self.pre_feedforward_layernorm = Norm(w, eps)
        self.mlp = Dense(c)
        self.router = Router(c)
        self.experts = Experts(c)
        self.post_feedforward_layernorm = Norm(w, eps, after)

    def forward(self, h, tables):
        h, x, dense, route = self.first(h, tables)
        chosen, weight, balance, z = route
        routed = self.experts(x.view(-1, x.shape[-1]), chosen, weight)
        return self.last(h, dense, routed), balance, z

    def first(self, h, tables):
        """Attention, the dense path and the router: all of the block that has fixed shapes."""
        h = h + self.post_attention_layernorm(self.self_attn(self.input_layernorm(h), tables))
        x = self.pre_feedforward_layernorm(h)
        return h, x, self.mlp(x), self.router(x.view(-1, x.shape[-1]))

    def last(self, h, dense, routed):
        return h + self.post_feedforward_layernorm(dense + routed.view_as(h))


class Model(nn.Module):
    def __init__(self, c, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.config = c
        self.embed_tokens = nn.Embedding(c["vocab_size"], c["hidden_size"])
        self.layers = nn.ModuleList(Block(c, i) for i in range(c["num_hidden_layers"]))
        self.norm = Norm(c["hidden_size"], c["rms_norm_eps"])
        for p in self.parameters():
            if p.dim() > 1:
                nn.init.normal_(p, std=1 / math.sqrt(p.shape[-1]))
        length, dim = c["max_position_embeddings"], c["head_dim"]
        self.tables = {"global": rope_tables(length, dim, c["rope_theta"]),
                       "local": rope_tables(length, dim, c["rope_local_base_freq"]),
                       "mask": local_mask(length // c["sliding_window"], c["sliding_window"])}

    def forward(self, tokens):
        """(logits [n, s, vocab], mean balance loss, mean z loss); s a multiple of the window."""
        c = self.config
        h = self.embed_tokens(tokens) * math.sqrt(c["hidden_size"])
        balance = z = 0.0
        for layer in self.layers:
            h, b, q = layer(h, self.tables)
            balance, z = balance + b, z + q
        cap, count = c["final_logit_softcapping"], len(self.layers)
        logits = cap * torch.tanh(F.linear(self.norm(h), self.embed_tokens.weight) / cap)
        return logits, balance / count, z / count
