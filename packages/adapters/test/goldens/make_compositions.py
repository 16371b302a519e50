"""Makes compositions.safetensors: what PEFT's add_weighted_adapter makes of two LoRAs, and what it gets wrong in numpy.

    venv/bin/python make_compositions.py

The model is a linear layer [12, 8] and an embedding [10, 8], the adapters "a" and "b" of rank 3, in "plain" with alpha 6 and
4.5, in "rslora" with use_rslora. Each `CASE.LAYER` is the change of the weight, [out, in].
"""

import warnings
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from safetensors.numpy import save_file

warnings.simplefilter("ignore")
OUT = Path(__file__).parent / "compositions.safetensors"
WEIGHTS = [0.7, -0.4]
CASES = {
    "cat": {"combination_type": "cat"},
    "svd": {"combination_type": "svd", "svd_rank": 2},
    "linear": {"combination_type": "linear"},
    "ties": {"combination_type": "ties", "density": 0.6},
    "ties_count": {"combination_type": "ties", "density": 0.6, "majority_sign_method": "frequency"},
    "magnitude_prune": {"combination_type": "magnitude_prune", "density": 0.5},
    "ties_svd": {"combination_type": "ties_svd", "density": 0.6},
    "magnitude_prune_svd": {"combination_type": "magnitude_prune_svd", "density": 0.5},
}


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(10, 8)
        self.up = torch.nn.Linear(8, 12)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.up(self.embed(ids))


def model(rslora: bool):
    torch.manual_seed(3)
    config = [
        LoraConfig(r=3, lora_alpha=alpha, target_modules=["embed", "up"], use_rslora=rslora) for alpha in (6, 4.5)
    ]
    net = get_peft_model(Net(), config[0], adapter_name="a")
    net.add_adapter("b", config[1])
    for name, p in net.named_parameters():
        if "lora_" in name:
            p.data = torch.randn_like(p)
    return net


def change(net, name: str) -> dict[str, np.ndarray]:
    base = net.base_model.model
    return {
        "embed": base.embed.get_delta_weight(name).detach().numpy().T,
        "up": base.up.get_delta_weight(name).detach().numpy(),
    }


def main() -> None:
    out: dict[str, np.ndarray] = {}
    net = model(rslora=False)
    base = net.base_model.model
    for name in "ab":
        out[f"{name}.embed.A"] = base.embed.lora_embedding_A[name].detach().numpy()
        out[f"{name}.embed.B"] = base.embed.lora_embedding_B[name].detach().numpy()
        out[f"{name}.up.A"] = base.up.lora_A[name].weight.detach().numpy()
        out[f"{name}.up.B"] = base.up.lora_B[name].weight.detach().numpy()
    for case, options in CASES.items():
        net.add_weighted_adapter(["a", "b"], WEIGHTS, case, **options)
        out |= {f"{case}.{layer}": delta for layer, delta in change(net, case).items()}
    # PEFT keeps use_rslora of the first adapter, so that the result is scaled by √r once more; this is the sum itself.
    net = model(rslora=True)
    a, b = change(net, "a"), change(net, "b")
    out |= {f"rslora.{layer}": WEIGHTS[0] * a[layer] + WEIGHTS[1] * b[layer] for layer in a}
    net.add_weighted_adapter(["a", "b"], WEIGHTS, "sum", combination_type="cat")
    wrong = change(net, "sum")["up"]
    print("PEFT's rslora result is too large by", (wrong / out["rslora.up"]).mean(), "= sqrt(6)")
    save_file({key: np.ascontiguousarray(value) for key, value in out.items()}, OUT)


main()
