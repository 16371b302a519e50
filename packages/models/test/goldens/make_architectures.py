"""Makes the folders of tiny random models beside it: what Transformers computes for every architecture.

    python -m venv venv && venv/bin/pip install torch==2.15.0 transformers==5.24.0 peft==0.21.0 safetensors==0.8.0 "numpy<3"
    venv/bin/python make_architectures.py [name ...]

Everything runs on the CPU in float32, attention by plain matrix products ("eager"). Each folder holds
    config.json, model.safetensors   as save_pretrained writes them
    expected.safetensors             inputs and results, by name; versions are in its metadata
Causal models: input_ids [2, 12], labels [2, 12], logits [2, 12, vocabulary], loss [], grad.<parameter>, and greedy [12], the
ids that greedy generation appends to the first row.
bert*: input_ids, attention_mask, token_type_ids [3, 10]; hidden [3, 10, 16], pooled [3, 16], and plain, hidden without mask
and types, the gradients of sum(hidden * weight); labels, logits, loss and its gradients of the classifiers.
vit*: pixels [batch, channels, height, width]; hidden, pooled; labels, logits, loss and its gradients of the classifier.
rope-variants: one model whose config.json is changed; <name>.config (bytes of JSON) and <name>.logits [1, 20, vocabulary].
"""

import json
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file

HERE = Path(__file__).parent
VERSIONS = {
    "python": sys.version.split()[0],
    "torch": torch.__version__,
    "transformers": transformers.__version__,
}
DECODER = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "initializer_range": 0.25,  # large, so that no part of the network is nearly linear
    "attn_implementation": "eager",
}


def make(model_class, config, seed: int):
    """A model in which norms and biases are random too."""
    torch.manual_seed(seed)
    model = model_class(config).float().eval()
    with torch.no_grad():
        for key, p in model.named_parameters():
            if key.endswith("bias"):
                p.copy_(0.3 * torch.randn_like(p))
            elif p.ndim == 1:
                p.copy_(1 + 0.3 * torch.randn_like(p))
    return model


def save(model, name: str, tensors: dict) -> None:
    folder = HERE / name
    model.save_pretrained(folder)
    for file in folder.iterdir():
        if file.name not in ("config.json", "model.safetensors", "expected.safetensors") and file.is_file():
            file.unlink()
    tensors = {key: t.detach().clone().contiguous() for key, t in tensors.items()}
    save_file(tensors, folder / "expected.safetensors", metadata=VERSIONS)


def gradients(model) -> dict:
    return {f"grad.{key}": p.grad for key, p in model.named_parameters() if p.grad is not None}


def causal(name: str, model_class, config, seed: int) -> None:
    model = make(model_class, config, seed)
    ids = torch.randint(3, config.vocab_size, (2, 12))
    labels = ids.clone()
    labels[0, :4] = -100
    labels[1, 9:] = -100
    out = model(input_ids=ids, labels=labels)
    out.loss.backward()
    tensors = {"input_ids": ids, "labels": labels, "logits": out.logits, "loss": out.loss, **gradients(model)}
    with torch.no_grad():
        made = model.generate(ids[:1], max_new_tokens=12, do_sample=False, eos_token_id=None, pad_token_id=2)
    tensors["greedy"] = made[0, ids.shape[1] :]
    save(model, name, tensors)


def rope_variants(name: str) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    base = {**DECODER, "num_hidden_layers": 1, "head_dim": 12, "max_position_embeddings": 16}
    plain = {"rope_type": "default", "rope_theta": 500.0}
    yarn = {"rope_type": "yarn", "rope_theta": 500.0, "factor": 4.0, "original_max_position_embeddings": 16}
    longrope = {
        "rope_type": "longrope",
        "rope_theta": 500.0,
        "short_factor": [1.0, 1.05, 1.1, 1.2, 1.3, 1.5],
        "long_factor": [1.0, 1.5, 2.0, 3.0, 4.0, 6.0],
    }
    llama3 = {"rope_type": "llama3", "rope_theta": 500.0, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    variants = {
        "default": plain,
        "linear": {**plain, "rope_type": "linear", "factor": 2.5},
        "dynamic": {**plain, "rope_type": "dynamic", "factor": 2.0},
        "llama3": {**llama3, "original_max_position_embeddings": 8},
        "yarn": yarn,
        "yarn-betas": {**yarn, "beta_fast": 4.0, "beta_slow": 0.5, "truncate": False},
        "yarn-mscale": {**yarn, "mscale": 1.5, "mscale_all_dim": 0.5},
        "yarn-attention": {**yarn, "attention_factor": 0.8, "factor": 2.0},
        "longrope-long": {**longrope, "original_max_position_embeddings": 8},
        "longrope-short": {**longrope, "original_max_position_embeddings": 32, "factor": 4.0},
    }
    model = make(LlamaForCausalLM, LlamaConfig(**base, rope_parameters=dict(plain)), 21)
    ids = torch.randint(3, 40, (1, 20))
    tensors = {"input_ids": ids}
    for variant, rope in variants.items():
        config = LlamaConfig(**base, rope_parameters=dict(rope))
        other = LlamaForCausalLM(config).float().eval()
        other.load_state_dict(model.state_dict())
        with torch.no_grad():
            tensors[f"{variant}.logits"] = other(input_ids=ids).logits
        text = json.dumps({"architectures": ["LlamaForCausalLM"], **config.to_dict()})
        tensors[f"{variant}.config"] = torch.tensor(list(text.encode()), dtype=torch.uint8)
    save(model, name, tensors)


def gpt2(name: str) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=40,
        n_positions=32,
        n_embd=16,
        n_layer=2,
        n_head=4,
        n_inner=24,
        bos_token_id=0,
        eos_token_id=1,
        initializer_range=0.25,
        scale_attn_by_inverse_layer_idx=True,
        attn_implementation="eager",
    )
    causal(name, GPT2LMHeadModel, config, 14)
    adapter(name)


def adapter(name: str) -> None:
    """A LoRA of PEFT on GPT-2, whose weights are stored the other way around: adapter/ and adapted.safetensors."""
    from peft import LoraConfig, get_peft_model
    from transformers import GPT2LMHeadModel

    torch.manual_seed(15)
    base = GPT2LMHeadModel.from_pretrained(HERE / name, attn_implementation="eager").float()
    config = LoraConfig(r=2, lora_alpha=6, target_modules=["c_attn", "c_proj", "c_fc"], fan_in_fan_out=True)
    model = get_peft_model(base, config).eval()
    with torch.no_grad():
        for key, p in model.named_parameters():
            if "lora_" in key:
                p.copy_(0.3 * torch.randn_like(p))
        ids = torch.randint(3, 40, (2, 9))
        logits = model(input_ids=ids).logits
    model.save_pretrained(HERE / name / "adapter")
    (HERE / name / "adapter" / "README.md").unlink(missing_ok=True)
    settings = HERE / name / "adapter" / "adapter_config.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "base_model_name_or_path": name}, indent=2) + "\n")
    save_file({"input_ids": ids, "logits": logits.contiguous()}, HERE / name / "adapted.safetensors", metadata=VERSIONS)


BERT = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 16,
    "type_vocab_size": 2,
    "initializer_range": 0.25,
    "attn_implementation": "eager",
}


def padded_texts() -> dict:
    """Three rows: whole, padded at its end, padded at its start."""
    ids = torch.randint(3, 40, (3, 10))
    mask = torch.ones(3, 10, dtype=torch.long)
    mask[1, 6:] = 0
    mask[2, :3] = 0
    types = torch.zeros(3, 10, dtype=torch.long)
    types[:, 5:] = 1
    return {"input_ids": ids * mask, "attention_mask": mask, "token_type_ids": types}


def bert(name: str) -> None:
    from transformers import BertConfig, BertModel

    model = make(BertModel, BertConfig(**BERT), 31)
    inputs = padded_texts()
    out = model(**inputs)
    plain = model(input_ids=inputs["input_ids"])
    weight = torch.randn_like(out.last_hidden_state)
    (out.last_hidden_state * weight).sum().backward()
    results = {"hidden": out.last_hidden_state, "pooled": out.pooler_output, "plain": plain.last_hidden_state}
    save(model, name, {**inputs, **results, "weight": weight, **gradients(model)})


def bert_sequence(name: str) -> None:
    from transformers import BertConfig, BertForSequenceClassification

    labels = {"id2label": {0: "ham", 1: "spam", 2: "other"}, "label2id": {"ham": 0, "spam": 1, "other": 2}}
    model = make(BertForSequenceClassification, BertConfig(**BERT, **labels, hidden_act="gelu_new"), 32)
    inputs = padded_texts()
    labels = torch.tensor([2, 0, 1])
    out = model(**inputs, labels=labels)
    out.loss.backward()
    save(model, name, {**inputs, "labels": labels, "logits": out.logits, "loss": out.loss, **gradients(model)})


def bert_token(name: str) -> None:
    from transformers import BertConfig, BertForTokenClassification

    model = make(BertForTokenClassification, BertConfig(**BERT, num_labels=4, hidden_act="relu"), 33)
    inputs = padded_texts()
    labels = torch.randint(0, 4, (3, 10))
    labels[inputs["attention_mask"] == 0] = -100
    out = model(**inputs, labels=labels)
    out.loss.backward()
    save(model, name, {**inputs, "labels": labels, "logits": out.logits, "loss": out.loss, **gradients(model)})


VIT = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": [9, 12],  # no square, and a row of pixels that is in no patch
    "patch_size": [4, 3],
    "initializer_range": 0.25,
    "attn_implementation": "eager",
}


def vit(name: str) -> None:
    from transformers import ViTConfig, ViTModel

    model = make(ViTModel, ViTConfig(**VIT, qkv_bias=False, num_channels=2), 41)
    pixels = torch.randn(2, 2, 9, 12)
    with torch.no_grad():
        out = model(pixel_values=pixels)
    save(model, name, {"pixels": pixels, "hidden": out.last_hidden_state, "pooled": out.pooler_output})


def vit_classes(name: str) -> None:
    from transformers import ViTConfig, ViTForImageClassification

    model = make(ViTForImageClassification, ViTConfig(**{**VIT, "image_size": 8, "patch_size": 4}, num_labels=5), 42)
    pixels = torch.randn(3, 3, 8, 8)
    labels = torch.tensor([4, 0, 2])
    out = model(pixel_values=pixels, labels=labels)
    out.loss.backward()
    save(model, name, {"pixels": pixels, "labels": labels, "logits": out.logits, "loss": out.loss, **in_files(gradients(model))})


def in_files(tensors: dict) -> dict:
    """Under the names that save_pretrained writes, where the model in memory has others."""
    names = {
        ".layers.": ".encoder.layer.",
        ".attention.q_proj": ".attention.attention.query",
        ".attention.k_proj": ".attention.attention.key",
        ".attention.v_proj": ".attention.attention.value",
        ".attention.o_proj": ".attention.output.dense",
        ".mlp.fc1": ".intermediate.dense",
        ".mlp.fc2": ".output.dense",
    }
    renamed = {}
    for key, t in tensors.items():
        for old, new in names.items():
            key = key.replace(old, new)
        renamed[key] = t
    return renamed


def mistral(name: str) -> None:
    from transformers import MistralConfig, MistralForCausalLM

    causal(name, MistralForCausalLM, MistralConfig(**DECODER, sliding_window=5), 11)


def qwen2(name: str) -> None:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    window = {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}
    causal(name, Qwen2ForCausalLM, Qwen2Config(**DECODER, **window, tie_word_embeddings=True), 12)


def qwen3(name: str) -> None:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    types = ["sliding_attention", "full_attention"]
    window = {"use_sliding_window": True, "sliding_window": 3, "layer_types": types}
    causal(name, Qwen3ForCausalLM, Qwen3Config(**DECODER, **window, head_dim=6), 13)


MODELS = {
    "mistral": mistral,
    "qwen2": qwen2,
    "qwen3": qwen3,
    "gpt2": gpt2,
    "rope-variants": rope_variants,
    "bert": bert,
    "bert-sequence": bert_sequence,
    "bert-token": bert_token,
    "vit": vit,
    "vit-classes": vit_classes,
}

if __name__ == "__main__":
    for name in sys.argv[1:] or MODELS:
        MODELS[name](name)
