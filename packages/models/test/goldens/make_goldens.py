"""Makes the files of this folder: what PyTorch and Transformers compute on a tiny random Llama.

    python -m venv venv && venv/bin/pip install torch==2.15.0 transformers==5.23.0 safetensors==0.8.0 "numpy<3"
    venv/bin/python make_goldens.py

Everything runs on the CPU in float32, attention by plain matrix products ("eager").
Each of llama-untied, llama-tied and llama-scaled (biases, wider heads, Llama 3.1's rotary scaling) holds
    config.json, model.safetensors   as save_pretrained writes them
    expected.safetensors             input_ids [2, 12], attention_mask [2, 12], labels [2, 12] (int64), logits [2, 12, 64],
                                     loss [], and grad.<parameter> for every parameter
                                     and greedy [16]: the ids that greedy generation appends to the first row
versions.json names the versions.
"""

import json
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

HERE = Path(__file__).parent


def python_file() -> None:
    tensors = {
        "f32": torch.tensor([[0.5, -1.25, 3.0], [4.0, 5.0, 6.0]]),
        "i64": torch.tensor([1, -2, 1 << 40]),
        "u8": torch.tensor([0, 127, 255], dtype=torch.uint8),
        "bool": torch.tensor([True, False]),
        "f16": torch.tensor([1.0, -2.5], dtype=torch.float16),
        "bf16": torch.tensor([1.0, -2.5], dtype=torch.bfloat16),
        "f64": torch.tensor([1e300], dtype=torch.float64),
        "i32": torch.tensor([[-7], [8]], dtype=torch.int32),
        "empty": torch.zeros(0, 4),
        "scalar": torch.tensor(2.0),
        "naïve.ünïcode 😀": torch.tensor([1], dtype=torch.int16),
    }
    save_file(tensors, HERE / "python.safetensors", metadata={"format": "pt"})


def llama(name: str, tied: bool, seed: int, **extra) -> None:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        rms_norm_eps=1e-5,
        tie_word_embeddings=tied,
        bos_token_id=0,
        eos_token_id=1,
        initializer_range=0.2,  # large, so that no part of the network is nearly linear
        attn_implementation="eager",
        **extra,
    )
    model = LlamaForCausalLM(config).float().eval()
    with torch.no_grad():
        for key, p in model.named_parameters():
            if key.endswith("norm.weight") or "layernorm" in key:
                p.copy_(1 + 0.3 * torch.randn_like(p))
            elif key.endswith("bias"):
                p.copy_(0.3 * torch.randn_like(p))
    folder = HERE / name
    model.save_pretrained(folder)
    for file in folder.iterdir():
        if file.name not in ("config.json", "model.safetensors"):
            file.unlink()

    ids = torch.randint(3, 64, (2, 12))
    mask = torch.ones(2, 12, dtype=torch.long)
    mask[1, 9:] = 0  # the second row is padded at its end
    labels = ids.clone()
    labels[0, :4] = -100
    labels[1, 9:] = -100
    out = model(input_ids=ids, attention_mask=mask, labels=labels)
    out.loss.backward()
    tensors = {"input_ids": ids, "attention_mask": mask, "labels": labels, "logits": out.logits.detach(), "loss": out.loss.detach()}
    for key, p in model.named_parameters():
        tensors[f"grad.{key}"] = p.grad.detach().clone()
    with torch.no_grad():
        greedy = model.generate(ids[:1], attention_mask=mask[:1], max_new_tokens=16, do_sample=False, eos_token_id=None, pad_token_id=2)
    tensors["greedy"] = greedy[0, ids.shape[1] :].clone()
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / "expected.safetensors")


if __name__ == "__main__":
    python_file()
    llama("llama-untied", tied=False, seed=1)
    llama("llama-tied", tied=True, seed=2, rope_theta=5000.0)
    scaling = {"rope_type": "llama3", "rope_theta": 500.0, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16}
    llama("llama-scaled", tied=False, seed=5, head_dim=12, attention_bias=True, mlp_bias=True, rope_parameters=scaling)
    versions = {"python": sys.version.split()[0], "torch": torch.__version__, "transformers": transformers.__version__}
    (HERE / "versions.json").write_text(json.dumps(versions, indent=2) + "\n")
