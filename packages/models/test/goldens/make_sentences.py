"""Makes sentences.json: what Transformers gives for all-MiniLM-L6-v2, mean pooling and length 1.

    python -m venv venv && venv/bin/pip install torch==2.15.0 transformers==5.24.0 "numpy<3"
    venv/bin/python make_sentences.py FOLDER

FOLDER is that of the model. The file holds the texts, their lengths in tokens and their vectors, [texts, 384] float32 in base64. Texts of more than 256 tokens are cut, as the model's own files say.
"""

import base64
import json
import sys
from pathlib import Path

import torch
import transformers
from transformers import AutoModel, AutoTokenizer

TEXTS = [
    "The cat sits on the mat.",
    "A feline rests upon a rug.",
    "Quarterly revenue rose by 4.2% to $1,250 million.",
    "Привет, мир! 你好，世界。 Café naïve façade",
    "x",
    "",
    "Low-rank adaptation trains two thin matrices beside a frozen weight; nothing else of the model is changed.",
    "Write the answer at once. " * 60,
    "Ein längerer Satz auf Deutsch, der nur dazu dient, eine andere Zahl von Wörtern zu haben als alle übrigen hier.",
    "def f(x): return x ** 2 + 1  # a function",
]

if __name__ == "__main__":
    folder = sys.argv[1]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    vectors = []
    lengths = []
    for text in TEXTS:  # one at a time, so that no padding is there
        inputs = tokenizer(text, truncation=True, max_length=256, padding=False, return_tensors="pt")
        lengths.append(inputs["input_ids"].shape[1])
        with torch.no_grad():
            hidden = model(**inputs).last_hidden_state[0]
        vectors.append(torch.nn.functional.normalize(hidden.mean(0), dim=0))
    stacked = torch.stack(vectors)
    out = {
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "texts": TEXTS,
        "lengths": lengths,
        "vectors": base64.b64encode(stacked.numpy().astype("<f4").tobytes()).decode(),
    }
    Path(__file__).with_name("sentences.json").write_text(json.dumps(out, indent=1, ensure_ascii=False) + "\n")
