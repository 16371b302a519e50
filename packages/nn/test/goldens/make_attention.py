"""Makes attention-*.safetensors: MFA, MFA-KR and MLA by their equations, head by head in numpy and float64.

    venv/bin/python make_attention.py                  the files
    venv/bin/python make_attention.py --transformers   and MLA beside DeepseekV2Attention of transformers

A file holds x [2, 7, 16], the parameters by their names, y [2, 7, 16] at positions 3, 4, .. under a causal mask, and y_plain
without positions and without a mask.
"""

import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

HERE = Path(__file__).parent
BATCH, LENGTH, WIDTH, START, THETA = 2, 7, 16, 3, 10000.0
rng = np.random.default_rng(11)


def matrix(out: int, inner: int) -> np.ndarray:
    return rng.normal(size=(out, inner)) / np.sqrt(inner)


def rms(x: np.ndarray, weight: np.ndarray, eps: float) -> np.ndarray:
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps) * weight


def turn(x: np.ndarray, position: int, interleaved: bool) -> np.ndarray:
    """Pairs of one vector as complex numbers, times e^(i position frequency)."""
    half = len(x) // 2
    phase = np.exp(1j * position * THETA ** (-2 * np.arange(half) / len(x)))
    z = (x[0::2] + 1j * x[1::2] if interleaved else x[:half] + 1j * x[half:]) * phase
    return np.stack([z.real, z.imag], axis=-1).ravel() if interleaved else np.concatenate([z.real, z.imag])


def turned(rows: np.ndarray, positions: bool, interleaved: bool = False) -> np.ndarray:
    return np.array([turn(row, START + i, interleaved) for i, row in enumerate(rows)]) if positions else rows


def head(q: np.ndarray, k: np.ndarray, v: np.ndarray, causal: bool) -> np.ndarray:
    """One head of one text: a query sees keys up to its own."""
    out = []
    for i in range(len(q)):
        last = i + 1 if causal else len(k)
        scores = np.array([q[i] @ k[j] for j in range(last)]) / np.sqrt(q.shape[1])
        weights = np.exp(scores - scores.max())
        out.append(sum(w * v[j] for j, w in enumerate(weights / weights.sum())))
    return np.array(out)


def mfa(p: dict, x: np.ndarray, positions: bool, heads: int, size: int) -> np.ndarray:
    latent = x @ p["q_proj.weight"].T
    if "inter_norm.weight" in p:
        latent = rms(latent, p["inter_norm.weight"], 1e-5)
    key = x @ p["k_proj.weight"].T
    if "v_proj.weight" in p:
        value = x @ p["v_proj.weight"].T
    else:  # S_v = (I + diag(alpha) N) S_k
        value = x @ ((np.eye(size) + np.diag(p["kr_alpha"]) @ p["kr_n.weight"]) @ p["k_proj.weight"]).T
    y = np.zeros_like(x)
    for c in range(heads):
        at = slice(c * size, (c + 1) * size)
        query = latent @ p["wq.weight"][at].T
        o = head(turned(query, positions), turned(key, positions), value, positions)
        y += o @ p["o_proj.weight"][:, at].T
    return y


def mla(p: dict, x: np.ndarray, positions: bool, heads: int, size: int, values: int, turning: int) -> np.ndarray:
    low = x @ p["kv_a_proj_with_mqa.weight"].T
    c = rms(low[:, :-turning], p["kv_a_layernorm.weight"], 1e-6)
    shared = turned(low[:, -turning:], positions, True)
    if "q_proj.weight" in p:
        queries = x @ p["q_proj.weight"].T
    else:
        queries = rms(x @ p["q_a_proj.weight"].T, p["q_a_layernorm.weight"], 1e-6) @ p["q_b_proj.weight"].T
    y = np.zeros_like(x)
    for h in range(heads):
        q = queries[:, h * (size + turning) : (h + 1) * (size + turning)]
        up = p["kv_b_proj.weight"][h * (size + values) : (h + 1) * (size + values)]
        query = np.concatenate([q[:, :size], turned(q[:, size:], positions, True)], axis=1)
        key = np.concatenate([c @ up[:size].T, shared], axis=1)
        o = head(query, key, c @ up[size:].T, positions)
        y += o @ p["o_proj.weight"][:, h * values : (h + 1) * values].T
    return y


def make(name: str, layer, parameters: dict, **sizes: int) -> tuple[np.ndarray, np.ndarray]:
    x = rng.normal(size=(BATCH, LENGTH, WIDTH))
    y, plain = (np.array([layer(parameters, text, positions, **sizes) for text in x]) for positions in (True, False))
    tensors = {"x": x, "y": y, "y_plain": plain, **parameters}
    save_file({k: np.ascontiguousarray(v, dtype=np.float32) for k, v in tensors.items()}, HERE / f"attention-{name}.safetensors")
    return x, y


def mfa_parameters(heads: int, size: int, latent: int) -> dict:
    return {
        "q_proj.weight": matrix(latent, WIDTH),
        "wq.weight": matrix(heads * size, latent),
        "k_proj.weight": matrix(size, WIDTH),
        "o_proj.weight": matrix(WIDTH, heads * size),
    }


def mla_parameters(heads: int, size: int, values: int, latent: int, turning: int, queries: int | None) -> dict:
    wide = heads * (size + turning)
    first = (
        {"q_proj.weight": matrix(wide, WIDTH)}
        if queries is None
        else {
            "q_a_proj.weight": matrix(queries, WIDTH),
            "q_a_layernorm.weight": 1 + 0.3 * rng.normal(size=queries),
            "q_b_proj.weight": matrix(wide, queries),
        }
    )
    return {
        **first,
        "kv_a_proj_with_mqa.weight": matrix(latent + turning, WIDTH),
        "kv_a_layernorm.weight": 1 + 0.3 * rng.normal(size=latent),
        "kv_b_proj.weight": matrix(heads * (size + values), latent),
        "o_proj.weight": matrix(WIDTH, heads * values),
    }


def beside_transformers(p: dict, x: np.ndarray, y: np.ndarray, queries: int | None) -> None:
    import torch
    from transformers import DeepseekV2Config
    from transformers.models.deepseek_v2 import modeling_deepseek_v2 as theirs

    config = DeepseekV2Config(
        hidden_size=WIDTH, num_attention_heads=4, num_key_value_heads=4, kv_lora_rank=6, q_lora_rank=queries,
        qk_rope_head_dim=4, qk_nope_head_dim=5, v_head_dim=7, attn_implementation="eager", head_dim=4,
    )
    layer = theirs.DeepseekV2Attention(config, 0).double().eval()
    layer.load_state_dict({k: torch.tensor(v) for k, v in p.items()})
    at = torch.arange(START, START + LENGTH)[None].expand(BATCH, -1)
    inputs = torch.tensor(x)
    mask = torch.full((LENGTH, LENGTH), float("-inf"), dtype=torch.float64).triu(1)[None, None]
    embedding = theirs.DeepseekV2RotaryEmbedding(config)(inputs, at)
    got = layer(inputs, attention_mask=mask, position_embeddings=embedding)[0].detach().numpy()
    print(f"queries {queries}: largest difference to transformers {np.abs(got - y).max():.1e}")


make("mfa", mfa, {**mfa_parameters(4, 6, 6), "v_proj.weight": matrix(6, WIDTH)}, heads=4, size=6)
step = {**mfa_parameters(3, 6, 10), "v_proj.weight": matrix(6, WIDTH), "inter_norm.weight": 1 + 0.3 * rng.normal(size=10)}
make("mfa-step", mfa, step, heads=3, size=6)
reuse = {**mfa_parameters(4, 6, 6), "kr_n.weight": matrix(6, 6), "kr_alpha": rng.normal(size=6)}
make("mfa-kr", mfa, reuse, heads=4, size=6)
for name, queries in (("mla", None), ("mla-latent", 8)):
    parameters = mla_parameters(4, 5, 7, 6, 4, queries)
    x, y = make(name, mla, parameters, heads=4, size=5, values=7, turning=4)
    if "--transformers" in sys.argv:
        beside_transformers(parameters, x, y, queries)
