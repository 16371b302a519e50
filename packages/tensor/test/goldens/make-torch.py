"""Writes torch-ops.json: inputs, results and gradients of network ops in PyTorch, float64.

Run: python make-torch.py (PyTorch 2.5 or later)
"""

import json
import pathlib

import torch
import torch.nn.functional as F

torch.manual_seed(0)
cases = {}


def rand(*dims):
    return torch.randn(dims, dtype=torch.float64).mul(1000).round().div(1000)


def flat(t):
    return {"dims": list(t.shape), "data": [float(f"{v:.12g}") for v in t.detach().flatten().tolist()]}


def case(name, f, *inputs):
    xs = [x.clone().requires_grad_() for x in inputs]
    y = f(*xs)
    dy = rand(*y.shape)
    grads = torch.autograd.grad(y, xs, dy)
    cases[name] = {
        "inputs": [flat(x) for x in xs],
        "dy": flat(dy),
        "output": flat(y),
        "gradients": [flat(g) for g in grads],
    }


case("conv2d", lambda x, w, b: F.conv2d(x, w, b, stride=(2, 1), padding=(1, 2), dilation=(1, 2), groups=2),
     rand(2, 4, 5, 5), rand(4, 2, 3, 2), rand(4))
case("conv1d", lambda x, w: F.conv1d(x, w, padding="same"), rand(2, 3, 7), rand(2, 3, 3))
case("convTranspose2d", lambda x, w, b: F.conv_transpose2d(x, w, b, stride=2, padding=1, output_padding=1, groups=2, dilation=2),
     rand(1, 4, 3, 2), rand(4, 1, 3, 3), rand(2))
case("maxPool2d", lambda x: F.max_pool2d(x, 3, stride=2, padding=1), rand(2, 2, 6, 5))
case("avgPool2d", lambda x: F.avg_pool2d(x, (2, 3), stride=2, padding=1), rand(1, 2, 5, 6))
case("avgPool2d without padding", lambda x: F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False), rand(1, 2, 5, 6))
case("softmax", lambda x: F.softmax(x, 1), rand(2, 4, 3))
case("logSoftmax", lambda x: F.log_softmax(x, -1), rand(3, 5))
case("layerNorm", lambda x, w, b: F.layer_norm(x, (5,), w, b), rand(2, 3, 5), rand(5), rand(5))
case("rmsNorm", lambda x, w: F.rms_norm(x, (5,), w, eps=1e-6), rand(2, 3, 5), rand(5))
labels = torch.tensor([[1, -100, 4], [0, 2, -100]])
case("crossEntropy", lambda x: F.cross_entropy(x.reshape(-1, 5), labels.reshape(-1)), rand(2, 3, 5))
case("crossEntropy summed", lambda x: F.cross_entropy(x.reshape(-1, 5), labels.reshape(-1), reduction="sum", ignore_index=-100), rand(2, 3, 5))
case("attention", lambda q, k, v: F.scaled_dot_product_attention(q, k, v), rand(2, 2, 3, 4), rand(2, 2, 5, 4), rand(2, 2, 5, 3))
case("attention, causal", lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
     rand(1, 2, 4, 4), rand(1, 2, 4, 4), rand(1, 2, 4, 4))
mask = torch.tensor([[True, False, True], [True, True, False]])
case("attention, masked and grouped", lambda q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=0.3, enable_gqa=True),
     rand(1, 4, 2, 4), rand(1, 2, 3, 4), rand(1, 2, 3, 4))
case("sort", lambda x: x.sort(dim=1, descending=True, stable=True).values, rand(3, 5))
case("topK", lambda x: x.topk(2, dim=0).values, rand(5, 2))
case("cumsum", lambda x: x.cumsum(1), rand(2, 5))
index = torch.tensor([[2, 0, 1], [1, 1, 0]])
case("gather", lambda x: x.gather(0, index), rand(3, 4))
case("embedding", lambda w: F.embedding(index, w), rand(3, 2))
case("tril", lambda x: x.tril(1), rand(2, 3, 4))
case("triu", lambda x: x.triu(-1), rand(4, 3))

# Points where a convention decides: ties, zeros, edges.
edges = torch.tensor([[-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0]], dtype=torch.float64)
for name, f in {
    "relu": F.relu, "gelu": F.gelu, "geluTanh": lambda x: F.gelu(x, approximate="tanh"), "silu": F.silu,
    "softplus": F.softplus, "sigmoid": torch.sigmoid, "tanh": torch.tanh,
    "erf": torch.erf, "expm1": torch.expm1, "abs": torch.abs, "sign": torch.sign, "round": torch.round,
    "square": torch.square, "sinh": torch.sinh, "atan": torch.atan,
    "logsumexp": lambda x: x.logsumexp(1), "prod": lambda x: x.prod(1), "prod of two zeros": lambda x: (x * (x - 1)).prod(1),
    "max with ties": lambda x: x.square().amax(1), "variance": lambda x: x.var(1), "std": lambda x: x.std(1, correction=0),
    "norm": lambda x: x.norm(dim=1), "norm of one": lambda x: x.norm(1, dim=1), "mean": lambda x: x.mean(0),
    "pow of a number": lambda x: 2**x, "power of three": lambda x: x**3, "flip": lambda x: x.flip(1),
    "slice backwards": lambda x: x[:, 1:7:2].flip(1), "pad": lambda x: F.pad(x, (2, 1)), "repeat": lambda x: x.repeat_interleave(2, 1),
    "tile": lambda x: x.tile(2, 2),
}.items():
    case(name, f, edges)
# Kinks where frameworks differ are left out.
case("clamp", lambda x: x.clamp(-1, 1), edges + 0.25)
case("elu", lambda x: F.elu(x, 0.7), edges + 0.25)
case("leakyRelu", F.leaky_relu, edges + 0.25)
case("maximum with ties", torch.maximum, edges, torch.tensor([[0.0, -1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 3.0]], dtype=torch.float64))
case("log and friends", lambda x: x.log() + x.log1p() + x.rsqrt() + x.sqrt() + x.reciprocal(), rand(2, 3).abs() + 0.1)
case("erfinv", torch.erfinv, torch.tensor([-0.999, -0.5, 0.0, 0.3, 0.9999], dtype=torch.float64))
case("pow", torch.pow, rand(2, 3).abs() + 0.1, rand(2, 3))
case("atan2", torch.atan2, rand(2, 3), rand(2, 3))
case("hypot", torch.hypot, rand(2, 3), rand(3))
case("logaddexp", torch.logaddexp, rand(2, 3), rand(2, 1))
case("div", lambda a, b: a / b, rand(2, 3), rand(3))
case("remainder", torch.remainder, rand(2, 3) * 5, rand(2, 3))
case("lerp", lambda a, b: torch.lerp(a, b, 0.3), rand(3), rand(3))
case("where", lambda a, b: torch.where(a > b, a, b * 2), rand(2, 3), rand(2, 3))
case("matmul, batches", torch.matmul, rand(2, 1, 3, 4), rand(3, 4, 2))
case("matmul, vector", torch.matmul, rand(2, 3, 4), rand(4))
case("matmul, vectors", torch.matmul, rand(4), rand(4))
case("einsum", lambda a, b, c: torch.einsum("bij,bkj,k->bi", a, b, c), rand(2, 3, 4), rand(2, 5, 4), rand(5))
case("einsum, diagonal", lambda a: torch.einsum("iij->j", a), rand(3, 3, 2))

path = pathlib.Path(__file__).with_name("torch-ops.json")
path.write_text(json.dumps({"torch": torch.__version__, "cases": cases}, separators=(",", ":")) + "\n")
print(len(cases), "cases,", path.stat().st_size, "bytes, torch", torch.__version__)
