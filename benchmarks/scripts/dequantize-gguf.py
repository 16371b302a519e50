"""The models of `bench finetune`: SmolLM2-135M-Instruct.Q4_1.gguf of a folder, widened to f32 beside it as smollm2-hf.

    python benchmarks/scripts/dequantize-gguf.py $LOWRANK_TEST_MODELS
"""

import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

folder, name = Path(sys.argv[1]), "SmolLM2-135M-Instruct.Q4_1.gguf"
model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32)
model.save_pretrained(folder / "smollm2-hf")
AutoTokenizer.from_pretrained(folder, gguf_file=name).save_pretrained(folder / "smollm2-hf")
