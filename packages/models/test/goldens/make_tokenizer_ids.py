"""Makes tokenizer-ids.json: the ids that the Python library gives with the tokenizer of the quick start.

    python -m venv venv && venv/bin/pip install tokenizers==0.23.3
    venv/bin/python make_tokenizer_ids.py
"""

import json
from pathlib import Path

from tokenizers import Tokenizer

HERE = Path(__file__).parent
QUICKSTART = HERE.parents[3] / "examples" / "quickstart"
tokenizer = Tokenizer.from_file(str(QUICKSTART / "model" / "tokenizer.json"))
texts = ["", " ", "\n\n", "  lead", "trail  ", "hello  world\n\n\t x", "it's we'll they'd DON'T", "12,345.67 °C", "a\u00a0b\u2028c", "e\u0301 é",
         "naïve — “q” 日本語 🙂 \u0000\u00ff", "it's <|eos|> x<|bos|><|pad|>", "<|eos", "don’t", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "x" * 300]
for line in (QUICKSTART / "data" / "moby-dick-heldout.jsonl").read_text(encoding="utf8").splitlines():
    texts.append(json.loads(line)["text"][:600])
rows = [{"text": text, "ids": tokenizer.encode(text).ids} for text in texts]
(HERE / "tokenizer-ids.json").write_text(json.dumps(rows, ensure_ascii=True) + "\n")
