"""Loads an adapter folder into PEFT on the tiny Llama and stores the logits: the outside witness for our writer.

    venv/bin/python check_peft_loads.py ADAPTER_FOLDER [OUTPUT.safetensors] [--base MODEL_FOLDER]

Without an output it prints the first logits and their sum. Every tensor of the file must have found its place: unexpected
keys, or adapter tensors that the file lacks, end the program with an error. Versions and venv: see make_goldens.py.
"""

import argparse
from pathlib import Path

import torch
from peft import PeftConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

GOLDENS = Path(__file__).resolve().parents[3] / "models" / "test" / "goldens"
parser = argparse.ArgumentParser()
parser.add_argument("adapter", type=Path)
parser.add_argument("output", type=Path, nargs="?")
parser.add_argument("--base", type=Path, default=GOLDENS / "llama-untied")
arguments = parser.parse_args()

batch = load_file(GOLDENS / "llama-untied" / "expected.safetensors")
base = AutoModelForCausalLM.from_pretrained(arguments.base, dtype=torch.float32, attn_implementation="eager").eval()
model = get_peft_model(base, PeftConfig.from_pretrained(arguments.adapter)).eval()
tensors = load_file(arguments.adapter / "adapter_model.safetensors")
wanted = set(get_peft_model_state_dict(model))
if wanted != set(tensors):
    raise SystemExit(f"missing {sorted(wanted - set(tensors))}, unexpected {sorted(set(tensors) - wanted)}")
result = set_peft_model_state_dict(model, tensors)
if result.unexpected_keys:
    raise SystemExit(f"unexpected {result.unexpected_keys}")
for key, value in get_peft_model_state_dict(model).items():
    if not torch.equal(value, tensors[key].float()):
        raise SystemExit(f"{key} was not taken over")
with torch.no_grad():
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
if arguments.output:
    save_file({"logits": logits.contiguous()}, arguments.output)
print(f"{len(tensors)} tensors loaded; logits[0, 0, :4] = {logits[0, 0, :4].tolist()}, sum {logits.double().sum().item():.6f}")
