"""Makes smollm2-tokens.json and smollm2.json: what Transformers does with SmolLM2-135M-Instruct.Q4_1.gguf.

    python -m venv venv && venv/bin/pip install torch==2.15.0 transformers==5.24.0 gguf==0.19.0 "numpy<3"
    venv/bin/python make-smollm2.py FOLDER_OF_THE_FILE [FOLDER_OF_THE_WIDENED_MODEL, as save_pretrained wrote it]

Weights are widened by the gguf package; everything runs on the CPU in float32. smollm2-tokens.json holds rows of text and ids; texts with
numbers beyond 0 to 9 are left out, as Transformers leaves out the pre-tokenizer that sets them apart.
smollm2.json holds, of each prompt: its ids, the 50 largest logits at its last token with their ids, and the 64 ids that
greedy choice appends (without stopping at an end), with the smallest distance between the two best logits on the way.
"""

import json
import sys
from pathlib import Path

import gguf
import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

HERE = Path(__file__).parent
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
VERSIONS = {"torch": torch.__version__, "transformers": transformers.__version__, "gguf": "0.19.0"}

TEXTS = [
    "", " ", "\n", "\n\n\n", "  lead", "trail  ", "hello  world\n\n\t x", "Hello World", "it's we'll they'd DON'T I'M",
    "12,345.67 °C and 1e-5, 2026-11-28", "x1y22z333", "a\u00a0b\u2028c\u3000d", "e\u0301 é ﬁ",
    "naïve — “q” 日本語 🙂 \u0000\u00ff", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "don’t", "x" * 100, " " * 33 + "x",
    "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", "a<|endoftext|>b <|im_end|> c", "<|im_start", "<repo_name>x",
    "def f(x):\n    return x ** 2  # square\n\nclass A:\n\tpass", "SELECT * FROM t WHERE a >= 10 AND b != 'c';",
    "https://example.org/a?b=c&d=%20#e", "Привет, мир! Γειά σου Κόσμε", "مرحبا بالعالم שלום עולם", "한국어 텍스트와 中文混合",
    "∑_{i=0}^{n} x_i² ≤ ∫ f(x) dx", "\r\nwindows\r\nlines\r", "Tab\tseparated\tvalues", "...!!!???---", "$100 £20 €30",
    "The quick brown fox jumps over the lazy dog. " * 3,
]  # fmt: skip

PROMPTS = [
    "The capital of France is",
    "Once upon a time, in a small village by the sea,",
    "def fibonacci(n):\n    ",
    "Water boils at a temperature of",
    "To make a good cup of tea, first",
    "The three laws of motion were formulated by",
    "In 1969, humans first",
    "A haiku about autumn:\n",
    "The difference between a list and a tuple in Python is",
    "Photosynthesis is the process by which",
    "<|im_start|>user\nWhat is gravity?<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\nWrite a poem about the moon.<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\nName three primary colors.<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\nHow do I sort a list in Python?<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\nTranslate 'good morning' to French.<|im_end|>\n<|im_start|>assistant\n",
    "The largest planet in the solar system is",
    "SELECT name FROM users WHERE",
    "Dear Sir or Madam,\n\nI am writing to",
    "The sum of the first ten positive integers is",
    "She opened the door and saw",
]


def main(folder: str, widened: str | None = None) -> None:
    where = {"pretrained_model_name_or_path": widened} if widened else {"pretrained_model_name_or_path": folder, "gguf_file": FILE}
    tokenizer = AutoTokenizer.from_pretrained(**where, padding_side="left")
    rows = [{"text": text, "ids": tokenizer(text).input_ids} for text in TEXTS]
    write("smollm2-tokens.json", {"versions": VERSIONS, "rows": rows})

    model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32).eval()
    batch = tokenizer(PROMPTS, return_tensors="pt", padding=True)
    with torch.inference_mode():
        out = model.generate(
            **batch, do_sample=False, max_new_tokens=64, eos_token_id=-1, return_dict_in_generate=True, output_logits=True
        )
        prompts = []
        for row, text in enumerate(PROMPTS):
            ids = tokenizer(text).input_ids
            best = model(torch.tensor([ids])).logits[0, -1].topk(50)
            steps = torch.stack([logits[row] for logits in out.logits]).topk(2).values
            prompts.append({
                "text": text,
                "ids": ids,
                "top": best.indices.tolist(),
                "logits": [round(v, 4) for v in best.values.tolist()],
                "greedy": out.sequences[row, -64:].tolist(),
                "margin": round(float((steps[:, 0] - steps[:, 1]).min()), 4),
            })  # fmt: skip
    write("smollm2.json", {"versions": VERSIONS, "prompts": prompts})


def write(name: str, content: dict) -> None:
    body = json.dumps(content, ensure_ascii=True).replace('{"text"', '\n{"text"')
    (HERE / name).write_text(body + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
