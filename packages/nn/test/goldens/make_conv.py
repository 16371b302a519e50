"""Makes conv.json: what PyTorch's convolution layers compute, with gradients.

    venv/bin/python make_conv.py        a venv with torch

Each case has the layer's arguments under torch's names, weight, bias (null without), x, y, a weighting g of y, and the gradients
of sum(g * y): of x, the weight and the bias. Numbers are float64, rounded to nine places.
"""

import json
from pathlib import Path

import torch

CASES = [
    ("Conv1d", dict(in_channels=3, out_channels=4, kernel_size=3), (2, 3, 7)),
    ("Conv1d", dict(in_channels=4, out_channels=6, kernel_size=2, stride=2, padding=1, dilation=3, groups=2), (2, 4, 8)),
    ("Conv1d", dict(in_channels=2, out_channels=3, kernel_size=4, padding="same", bias=False), (1, 2, 5)),
    ("Conv2d", dict(in_channels=3, out_channels=4, kernel_size=3), (2, 3, 5, 6)),
    ("Conv2d", dict(in_channels=3, out_channels=5, kernel_size=1), (2, 3, 2, 3)),
    ("Conv2d", dict(in_channels=4, out_channels=6, kernel_size=[3, 2], stride=[2, 1], padding=[1, 0], dilation=[1, 2], groups=2), (2, 4, 6, 5)),
    ("Conv2d", dict(in_channels=3, out_channels=6, kernel_size=2, stride=3, groups=3, bias=False), (1, 3, 5, 5)),
    ("Conv2d", dict(in_channels=2, out_channels=3, kernel_size=[2, 3], padding="same", dilation=2), (1, 2, 4, 5)),
]


def numbers(tensor: torch.Tensor | None) -> dict | None:
    if tensor is None:
        return None
    return {"shape": list(tensor.shape), "data": [round(v, 9) for v in tensor.detach().flatten().tolist()]}


def case(name: str, arguments: dict, shape: tuple[int, ...]) -> dict:
    layer = getattr(torch.nn, name)(**{k: tuple(v) if isinstance(v, list) else v for k, v in arguments.items()}).double()
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    y = layer(x)
    g = torch.randn_like(y)
    (g * y).sum().backward()
    grads = {"x": x.grad, "weight": layer.weight.grad, "bias": None if layer.bias is None else layer.bias.grad}
    tensors = {"weight": layer.weight, "bias": layer.bias, "x": x, "y": y, "g": g}
    return {
        "layer": name,
        "arguments": arguments,
        **{key: numbers(value) for key, value in tensors.items()},
        "grads": {key: numbers(value) for key, value in grads.items()},
    }


if __name__ == "__main__":
    torch.manual_seed(3)
    cases = [case(*c) for c in CASES]
    out = {"torch": torch.__version__, "cases": cases}
    (Path(__file__).parent / "conv.json").write_text(json.dumps(out) + "\n")
