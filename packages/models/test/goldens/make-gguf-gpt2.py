"""Makes gguf/gpt2.gguf and gguf/gpt2.safetensors: a tiny random GPT-2 as llama.cpp's converter writes it, and what Transformers computes.

    python -m venv venv && venv/bin/pip install gguf==0.19.0 torch==2.15.0 transformers==5.24.0 safetensors==0.8.0 "numpy<3"
    venv/bin/python make-gguf-gpt2.py

Names come from the package's own map. The matrices of the blocks are turned to [out, in], as the converter does, and stored in
several types; the model then computes with the numbers that are stored. gpt2.safetensors holds input_ids [2, 12], logits
[2, 12, vocabulary] and greedy [12], the ids that greedy generation appends to the first row; versions are in its metadata.
"""

import sys
from pathlib import Path

import gguf
import torch
import transformers
from gguf import GGMLQuantizationType as T
from safetensors.torch import save_file

HERE = Path(__file__).parent / "gguf"
TURNED = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
TYPES = {
    "token_embd.weight": T.Q8_0,
    "blk.0.attn_qkv.weight": T.Q8_0,
    "blk.0.attn_output.weight": T.F16,
    "blk.0.ffn_up.weight": T.BF16,
    "blk.1.ffn_down.weight": T.Q4_0,
}


def main() -> None:
    config = transformers.GPT2Config(
        vocab_size=40,
        n_embd=32,
        n_inner=64,
        n_layer=2,
        n_head=4,
        n_positions=32,
        bos_token_id=0,
        eos_token_id=1,
        initializer_range=0.25,  # large, so that no part of the network is nearly linear
        attn_implementation="eager",
    )
    torch.manual_seed(21)
    model = transformers.GPT2LMHeadModel(config).float().eval()
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.GPT2, config.n_layer)
    writer = gguf.GGUFWriter(HERE / "gpt2.gguf", "gpt2")
    writer.add_block_count(config.n_layer)
    writer.add_context_length(config.n_positions)
    writer.add_embedding_length(config.n_embd)
    writer.add_feed_forward_length(config.n_inner)
    writer.add_head_count(config.n_head)
    writer.add_layer_norm_eps(config.layer_norm_epsilon)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_bos_token_id(config.bos_token_id)
    writer.add_eos_token_id(config.eos_token_id)
    with torch.no_grad():
        for path, p in model.named_parameters():  # the head is the table of the embedding, and comes once
            if p.ndim == 1:
                p.copy_((1 if "ln_" in path and path.endswith("weight") else 0) + 0.3 * torch.randn_like(p))
            name = names.get_name(path, try_suffixes=(".weight", ".bias"))
            values = (p.T if path.endswith(TURNED) else p).contiguous().numpy()
            kind = TYPES.get(name, T.F32)
            data = gguf.quants.quantize(values, kind)
            stored = torch.from_numpy(gguf.quants.dequantize(data, kind).copy())
            p.copy_(stored.T if path.endswith(TURNED) else stored)
            writer.add_tensor(name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    ids = torch.randint(2, config.vocab_size, (2, 12))
    with torch.no_grad():
        logits = model(ids).logits
        greedy = model.generate(
            ids[:1],
            attention_mask=torch.ones(1, 12),
            do_sample=False,
            min_new_tokens=12,
            max_new_tokens=12,
            pad_token_id=0,
        )
    save_file(
        {"input_ids": ids, "logits": logits, "greedy": greedy[0, 12:].contiguous()},
        HERE / "gpt2.safetensors",
        metadata={
            "python": sys.version.split()[0],
            "gguf": "0.19.0",
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    )


main()
