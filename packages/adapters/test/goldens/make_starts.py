"""Makes starts/: the starts from data that PEFT gives a LoRA on the network of make_methods.py.

    venv/bin/python make_starts.py

    eva.safetensors      batches [4, 24] of ids, taken in turn again and again until all has converged; up and down: A of each
                         layer, rho 2, tau 0.999, for a rank of 4 and 2 on down, alpha 4; <layer>.scale, what its
                         update is scaled by; the same as whitened.<layer>
    corda.safetensors    ids [64]; <mode>.<layer>.update s B A and <mode>.<layer>.rest, the frozen weight less it, rank 3,
                         alpha 5, for the modes ipm and kpm
    loftq.safetensors    W [20, 16]; for bits 4 and 8 and T turns <bits>.<T>.update B A and <bits>.<T>.dense, the numbers of
                         the codes, rank 4

For the venv see make_goldens.py. PEFT's EVA decomposes by random sketches, in whose place stands the whole decomposition. Its LoftQ
needs bitsandbytes and a GPU: what is run here is its loop with the codes of quantizeWeight in their place.
"""

import dataclasses
import inspect
import sys
from types import ModuleType, SimpleNamespace

sys.modules.setdefault("attr", SimpleNamespace(dataclass=dataclasses.dataclass))  # all that PEFT's corda.py takes from attrs

import torch  # noqa: E402
from make_methods import METHODS, base
from peft import LoraConfig, get_peft_model, initialize_lora_eva_weights
from peft.tuners.lora import eva
from peft.tuners.lora.config import CordaConfig, EvaConfig
from peft.tuners.lora.corda import preprocess_corda
from peft.utils import loftq_utils
from peft.utils.incremental_pca import IncrementalPCA
from safetensors.torch import save_file

FOLDER = METHODS.parent / "starts"
LAYERS = ["up", "down"]


class WholePCA(IncrementalPCA):
    def __init__(self, n_components, copy, lowrank, lowrank_seed):
        super().__init__(n_components=n_components, copy=copy, lowrank=False)


eva.IncrementalPCA = WholePCA


def run_eva() -> None:
    torch.manual_seed(21)
    # Some ids are frequent, others rare, and every batch has its own favourites.
    batches = [torch.multinomial(torch.softmax(1.5 * torch.randn(11), 0), 24, replacement=True) for _ in range(4)]
    tensors = {"batches": torch.stack(batches)}
    for whiten in (False, True):
        net = base("lora")[0]
        config = LoraConfig(
            r=4,
            rank_pattern={"down": 2},
            lora_alpha=4,
            init_lora_weights="eva",
            eva_config=EvaConfig(rho=2.0, tau=0.999, whiten=whiten),
            target_modules=LAYERS,
        )
        model = get_peft_model(net, config)
        passes = []

        def forward(model, ids):
            passes.append(1)
            return model(ids)

        initialize_lora_eva_weights(
            model, batches, forward_fn=forward, prepare_model_inputs_fn=None, prepare_layer_inputs_fn=None, show_progress_bar=False
        )
        for name, module in model.named_modules():
            layer = name.split(".")[-1]
            if layer in LAYERS and hasattr(module, "lora_A"):
                name = ("whitened." if whiten else "") + layer
                tensors[name] = module.lora_A["default"].weight.detach().clone()
                tensors[f"{name}.scale"] = torch.tensor(module.scaling["default"])
                print(layer, module.lora_A["default"].weight.shape, module.scaling, len(passes))
    save_file(tensors, FOLDER / "eva.safetensors")


def run_corda() -> None:
    torch.manual_seed(22)
    ids = torch.randint(0, 11, (64,))
    tensors = {"ids": ids}
    for mode in ("ipm", "kpm"):
        net = base("lora")[0]
        config = LoraConfig(
            r=3, lora_alpha=5, init_lora_weights="corda", corda_config=CordaConfig(corda_method=mode), target_modules=LAYERS
        )
        preprocess_corda(net, config, run_model=lambda: net(ids))
        model = get_peft_model(net, config)
        for layer in LAYERS:
            module = model.base_model.model.get_submodule(layer)
            A, B, s = module.lora_A["default"].weight, module.lora_B["default"].weight, module.scaling["default"]
            tensors[f"{mode}.{layer}.update"] = (s * B @ A).detach().contiguous()
            tensors[f"{mode}.{layer}.rest"] = module.get_base_layer().weight.detach().clone()
    save_file(tensors, FOLDER / "corda.safetensors")


def by_groups(weight: torch.Tensor, bits: int) -> torch.Tensor:
    groups = weight.reshape(weight.shape[0], -1, 8)
    low = groups.amin(2, keepdim=True) if bits == 4 else torch.zeros(())
    scale = (groups.amax(2, keepdim=True) - low) / 15 if bits == 4 else groups.abs().amax(2, keepdim=True) / 127
    return (torch.round((groups - low) / scale) * scale + low).reshape(weight.shape)


class Codes:
    def __init__(self, weight, **_):
        self.data, self.quant_state, self.SCB = weight, None, None

    def to(self, _device):
        return self


def run_loftq() -> None:
    fake = ModuleType("bitsandbytes")
    fake.nn = SimpleNamespace(Params4bit=Codes, Int8Params=Codes)
    fake.functional = SimpleNamespace(
        dequantize_4bit=lambda data, _: by_groups(data, 4), int8_vectorwise_dequant=lambda data, _: by_groups(data, 8)
    )
    sys.modules["bitsandbytes"] = fake
    scope = vars(loftq_utils) | {"is_bnb_available": lambda: True, "is_bnb_4bit_available": lambda: True}
    exec(inspect.getsource(loftq_utils.loftq_init).replace('"cuda"', '"cpu"'), scope)
    torch.manual_seed(23)
    W = torch.randn(20, 16)
    tensors = {"W": W}
    for bits in (4, 8):
        for turns in (1, 2, 3, 5):
            dense, A, B = scope["loftq_init"](W, num_bits=bits, reduced_rank=4, num_iter=turns)
            tensors[f"{bits}.{turns}.update"], tensors[f"{bits}.{turns}.dense"] = B @ A, dense
            print(bits, turns, torch.linalg.norm(W - dense - B @ A).item())
    save_file({key: value.contiguous() for key, value in tensors.items()}, FOLDER / "loftq.safetensors")


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    run_eva()
    run_corda()
    run_loftq()
