"""Makes the files of this folder: what PEFT computes with LoRA on the tiny Llama of packages/models/test/goldens.

    python -m venv venv && venv/bin/pip install torch==2.15.0 transformers==5.23.0 peft==0.21.2 safetensors==0.8.0 "numpy<3"
    venv/bin/python make_goldens.py

Everything runs on the CPU in float32, attention by plain matrix products ("eager"). The base is llama-untied, its input_ids,
attention_mask and labels are those of its expected.safetensors. Each of lora, rslora and
full (which also trains the head and the last norm in full) holds
    adapter_config.json, adapter_model.safetensors   as PEFT saves them; B is not zero
    expected.safetensors   logits [2, 12, 64] and loss [] with the adapter,
                           merged_logits [2, 12, 64] after merge_and_unload,
                           grad.<key>   gradient of each adapter tensor, <key> as in adapter_model.safetensors
                           sgd.<key>    the tensor after one step of SGD with lr 0.1
                           adamw.<key>  the tensor after three steps of AdamW with lr 1e-2, betas (0.9, 0.999), eps 1e-8,
                                        weight decay 0.01, gradients clipped to norm 1 before each step,
                           adamw_losses [3] before each of them, grad_norms [3] before clipping
versions.json names the versions.
"""

import json
import shutil
import sys
from pathlib import Path

import peft
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from transformers import LlamaForCausalLM

HERE = Path(__file__).parent
BASE = HERE.parents[2] / "models" / "test" / "goldens" / "llama-untied"


def base() -> LlamaForCausalLM:
    return LlamaForCausalLM.from_pretrained(BASE, dtype=torch.float32, attn_implementation="eager").eval()


def batch() -> dict:
    expected = load_file(BASE / "expected.safetensors")
    return {key: expected[key] for key in ("input_ids", "attention_mask", "labels")}


def load(folder: Path) -> PeftModel:
    return PeftModel.from_pretrained(base(), folder, is_trainable=True).eval()


def snapshot(model: PeftModel, prefix: str) -> dict:
    return {f"{prefix}.{key}": value.detach().clone() for key, value in get_peft_model_state_dict(model).items()}


def make(name: str, seed: int, **options) -> None:
    torch.manual_seed(seed)
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    config = LoraConfig(
        r=4, lora_alpha=8, lora_dropout=0.0, target_modules=["q_proj", "v_proj", "down_proj"], task_type="CAUSAL_LM", **options
    )
    model = get_peft_model(base(), config).eval()
    with torch.no_grad():
        for key, p in model.named_parameters():
            if "lora_B" in key:
                p.copy_(0.1 * torch.randn_like(p))
    # The path of this machine is of no use to a reader.
    model.peft_config["default"].base_model_name_or_path = "llama-untied"
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)

    out = load(folder)
    result = out(**batch())
    result.loss.backward()
    # Gradients by the names of the file: let the state dict see them in the place of the parameters.
    grads = {key: p.grad.clone() for key, p in out.named_parameters() if p.requires_grad}
    tensors = {"logits": result.logits.detach(), "loss": result.loss.detach()}
    for key, value in get_peft_model_state_dict(out, state_dict=grads).items():
        tensors[f"grad.{key}"] = value
    torch.optim.SGD([p for p in out.parameters() if p.requires_grad], lr=0.1).step()
    tensors |= snapshot(out, "sgd")

    adamw = load(folder)
    trained = [p for p in adamw.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-2, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)
    losses, norms = [], []
    for _ in range(3):
        optimizer.zero_grad()
        loss = adamw(**batch()).loss
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(trained, 1.0))
        losses.append(loss.detach())
        optimizer.step()
    tensors |= snapshot(adamw, "adamw")
    tensors["adamw_losses"] = torch.stack(losses)
    tensors["grad_norms"] = torch.stack(norms)

    merged = load(folder).merge_and_unload()
    with torch.no_grad():
        tensors["merged_logits"] = merged(**batch()).logits
    save_file({key: value.contiguous() for key, value in tensors.items()}, folder / "expected.safetensors")


if __name__ == "__main__":
    make("lora", seed=3)
    make("rslora", seed=4, use_rslora=True, rank_pattern={"layers.1.self_attn.q_proj": 2}, alpha_pattern={"down_proj": 5})
    make("full", seed=5, modules_to_save=["lm_head", "norm"])
    versions = {
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "peft": peft.__version__,
    }
    (HERE / "versions.json").write_text(json.dumps(versions, indent=2) + "\n")
