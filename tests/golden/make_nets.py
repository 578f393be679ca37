# SPDX-License-Identifier: GPL-3.0-or-later
"""Tiny language models with random weights, as Hugging Face transformers saves and runs them.

    python3 -m venv build/nets && build/nets/bin/pip install torch transformers
    build/nets/bin/python tests/golden/make_nets.py [NAME...]

Each becomes a folder beside this file: config.json and model.safetensors as save_pretrained writes
them, and golden.npz with `tokens` int32 [2, 32], `logits_full` and `hidden_first` (residual stream
after each layer, first sequence, all positions) of an eager forward pass in float64 of the weights
as stored (bf16), kept as float32. What transformers itself computes in float32 whatever the model's type (norms, softmax of
routers, rotary angles) is float32. Nothing is downloaded. The weights are ours, from seed 1; versions
are printed and go into README.md.
"""
import os
import sys
import zipfile

os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")

import numpy as np
import torch
import transformers
from transformers import (Gemma2Config, Gemma2ForCausalLM, Gemma3Config, Gemma3ForConditionalGeneration,
                          Gemma3ForCausalLM, Gemma3TextConfig, LlamaConfig, LlamaForCausalLM,
                          MistralConfig, MistralForCausalLM, MixtralConfig, MixtralForCausalLM,
                          Qwen3Config, Qwen3ForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM)

HERE = os.path.dirname(os.path.abspath(__file__))
LENGTH, SEQUENCES = 32, 2
SIZES = dict(vocab_size=72, hidden_size=40, intermediate_size=56, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=128, bos_token_id=None, eos_token_id=None,
             pad_token_id=None)

# Every one differs from the Llama row of the runner's table in what its comment says.
NETS = {
    # key/value heads, untied head, another base
    "llama": (LlamaForCausalLM, LlamaConfig, dict(num_hidden_layers=3, rope_parameters={
        "rope_type": "default", "rope_theta": 500000.0})),
    # rotary frequencies of Llama 3.1; a head whose width is not hidden / heads
    "llama3_rope": (LlamaForCausalLM, LlamaConfig, dict(
        num_hidden_layers=2, head_dim=16, tie_word_embeddings=True, rope_parameters={
            "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 32})),
    # positions divided by a factor
    "llama_linear_rope": (LlamaForCausalLM, LlamaConfig, dict(num_hidden_layers=2, rope_parameters={
        "rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0})),
    # every layer sees a window
    "mistral": (MistralForCausalLM, MistralConfig, dict(num_hidden_layers=2, sliding_window=9)),
    # norms that multiply by 1 + g, norms after the sublayers, alternating windows, capped scores and
    # logits, a scale of the scores of its own, no head norms
    "gemma2": (Gemma2ForCausalLM, Gemma2Config, dict(
        num_hidden_layers=3, head_dim=8, sliding_window=7, query_pre_attn_scalar=20,
        attn_logit_softcapping=2.0, final_logit_softcapping=3.0)),
    # head norms, five local layers and a global one, bases of their own, linear positions in the
    # global one
    "gemma3_text": (Gemma3ForCausalLM, Gemma3TextConfig, dict(
        num_hidden_layers=7, head_dim=16, sliding_window=7, query_pre_attn_scalar=24,
        rope_parameters={
            "full_attention": {"rope_type": "linear", "rope_theta": 1000000.0, "factor": 8.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}})),
    # the same inside a model that also sees: text_config, tensors of the tower beside
    "gemma3": (Gemma3ForConditionalGeneration, Gemma3Config, None),
    # head norms, no bias
    "qwen3": (Qwen3ForCausalLM, Qwen3Config, dict(num_hidden_layers=3, head_dim=16,
                                                  tie_word_embeddings=True)),
    # two kinds of layers, by name
    "qwen3_window": (Qwen3ForCausalLM, Qwen3Config, dict(
        num_hidden_layers=3, head_dim=8, use_sliding_window=True, sliding_window=6,
        max_window_layers=1)),
    # experts instead of a dense part, one tensor a matrix; weights of the chosen not divided by
    # their sum
    "qwen3_moe": (Qwen3MoeForCausalLM, Qwen3MoeConfig, dict(
        num_hidden_layers=2, head_dim=12, num_experts=5, num_experts_per_tok=3,
        moe_intermediate_size=24, norm_topk_prob=False)),
    # experts, one tensor a matrix, named w1 w2 w3
    "mixtral": (MixtralForCausalLM, MixtralConfig, dict(
        num_hidden_layers=3, num_local_experts=4, num_experts_per_tok=2, sliding_window=None)),
    # the same, in the stacks that transformers has in memory
    "mixtral_stacked": (MixtralForCausalLM, MixtralConfig, dict(
        num_hidden_layers=2, num_local_experts=4, num_experts_per_tok=2, sliding_window=None)),
}


def seeing_config():
    text = dict(NETS["gemma3_text"][2], **SIZES, num_hidden_layers=2)
    text["layer_types"] = ["sliding_attention", "full_attention"]
    vision = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
                  image_size=16, patch_size=8)
    return Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4,
                        image_token_index=71, boi_token_index=69, eoi_token_index=70)


def randomize(model):
    """Weights of about the size that makes every part matter; norms away from 0 and 1."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            scale = 0.3 if p.dim() == 1 else 1.2 / p.shape[-1] ** 0.5
            offset = p.mean() if p.dim() == 1 else 0
            p.copy_(offset + scale * torch.randn(p.shape, generator=generator, dtype=torch.float64))


def write_npz(path, arrays):
    """Deflated, with a fixed time stamp, so that the same arrays give the same bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z:
        for name, array in arrays.items():
            with z.open(zipfile.ZipInfo(name + ".npy", (1980, 1, 1, 0, 0, 0)), "w") as f:
                np.lib.format.write_array(f, np.ascontiguousarray(array))


def residual_streams(model, run):
    """Outputs of the decoder's layers."""
    text = model.model.language_model if hasattr(model.model, "language_model") else model.model
    kept = []
    hooks = [layer.register_forward_hook(
        lambda _m, _i, out: kept.append(out[0] if isinstance(out, tuple) else out))
        for layer in text.layers]
    logits = run()
    for h in hooks:
        h.remove()
    return logits, torch.stack(kept)


def make(name):
    kind, config, options = NETS[name]
    config = seeing_config() if options is None else config(**{**SIZES, **options})
    config._attn_implementation = config._experts_implementation = "eager"
    torch.manual_seed(1)
    model = kind(config).double()
    randomize(model)
    model = model.bfloat16()  # rotary tables too, so what runs below is read back from the file
    folder = os.path.join(HERE, name)
    model.save_pretrained(folder, save_original_format=name != "mixtral_stacked")
    os.chmod(os.path.join(folder, "model.safetensors"), 0o644)
    if os.path.exists(os.path.join(folder, "generation_config.json")):
        os.remove(os.path.join(folder, "generation_config.json"))
    model = kind.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager",
                                 experts_implementation="eager").eval()
    tokens = np.random.default_rng(1).integers(0, 69, (SEQUENCES, LENGTH))
    with torch.no_grad():
        logits, hidden = residual_streams(
            model, lambda: model(input_ids=torch.from_numpy(tokens), use_cache=False).logits)
    write_npz(os.path.join(folder, "golden.npz"), {
        "tokens": tokens.astype(np.int32), "logits_full": logits.numpy().astype(np.float32),
        "hidden_first": hidden[:, 0].numpy().astype(np.float32)})
    size = sum(os.path.getsize(os.path.join(folder, f)) for f in os.listdir(folder))
    print(f"{name}: {sum(p.numel() for p in model.parameters())} parameters, {size} bytes, "
          f"logits RMS {float(logits.pow(2).mean().sqrt()):.3g}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, transformers {transformers.__version__}")
    for name in sys.argv[1:] or NETS:
        make(name)
