"""Makes the files of methods/: what PEFT computes with each of its methods on a small network.

    venv/bin/python make_methods.py [METHOD ...]           base, and a folder for each method, or for those named
    venv/bin/python make_methods.py --ours [METHOD ...]    what PEFT computes with the folders of scripts/make-methods.ts

For the venv see make_goldens.py. The network is y = down(tanh(up(embed(ids)))), embed [11, 8], up [12, 8], down [6, 12], both
with bias; base.safetensors holds its weights, ids [5] and t [5, 6]. Methods named conv-... have the convolutions of ConvNet,
conv-base.safetensors, ids [3, 4, 6, 5], which are images there, and t [3, 4, 6]. A method's folder holds
    adapter_config.json, adapter_model.safetensors   as PEFT saves them, no parameter at its start
    expected.safetensors   y apart, merged after merge_and_unload, and sgd.<key>, each tensor after two steps of SGD with
                           lr 0.1 on mean((y - t)^2)
    ours/                  an adapter of ours, and peft.safetensors, its y in PEFT

Two faults of PEFT are gone around. Its OFT on a convolution with a kernel adds up overlapping patches, so that even a fresh adapter
changes the layer: of MERGED_ONLY methods y is that of the merged network, and there is no sgd. Its LoHa with
use_effective_conv2d gives w1_a and w2_a each other's gradient: here torch derives it.
"""

import json
import shutil
import sys
from pathlib import Path

import peft
import torch
from peft import PeftConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from peft.tuners.boft import layer as boft
from peft.tuners.loha import layer as loha
from safetensors.torch import load_file, save_file

METHODS = Path(__file__).parent / "methods"
ALL, LINEAR = ["embed", "up", "down"], ["up", "down"]


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(11, 8)
        self.up = torch.nn.Linear(8, 12)
        self.down = torch.nn.Linear(12, 6)

    def forward(self, ids):
        return self.down(torch.tanh(self.up(self.embed(ids))))


class ConvNet(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(4, 6, 3, stride=2, padding=1)
        self.grouped = torch.nn.Conv2d(6, 4, 2, groups=2)
        self.point = torch.nn.Conv2d(4, 6, 1)
        self.seq = torch.nn.Conv1d(6, 4, 3, padding=2)

    def forward(self, images):
        y = torch.tanh(self.point(torch.tanh(self.grouped(torch.tanh(self.first(images))))))
        return self.seq(y.flatten(2))


UNGROUPED, CONVS, IMAGES = ["first", "point", "seq"], ["first", "grouped", "point", "seq"], ["first", "point"]
MERGED_ONLY = {"conv-oft"}

CONFIGS = {
    "dora": lambda: peft.LoraConfig(r=3, lora_alpha=5, use_dora=True, target_modules=ALL),
    "hra": lambda: peft.HRAConfig(r=4, target_modules=LINEAR),
    "hra-gs": lambda: peft.HRAConfig(r=3, apply_GS=True, init_weights=False, target_modules=LINEAR),
    "oft": lambda: peft.OFTConfig(oft_block_size=4, target_modules=LINEAR),
    "oft-exact": lambda: peft.OFTConfig(r=2, oft_block_size=0, use_cayley_neumann=False, target_modules=LINEAR),
    "oft-shared": lambda: peft.OFTConfig(oft_block_size=2, block_share=True, num_cayley_neumann_terms=4, target_modules=LINEAR),
    "boft": lambda: peft.BOFTConfig(boft_block_num=2, boft_block_size=0, target_modules=LINEAR),
    "boft-2": lambda: peft.BOFTConfig(boft_block_size=2, boft_n_butterfly_factor=2, target_modules=LINEAR),
    "loha": lambda: peft.LoHaConfig(r=3, alpha=5, target_modules=LINEAR),
    "lokr": lambda: peft.LoKrConfig(r=8, alpha=5, target_modules=LINEAR),
    "lokr-both": lambda: peft.LoKrConfig(r=1, alpha=3, decompose_both=True, decompose_factor=3, init_weights="lycoris", target_modules=LINEAR),
    "vera": lambda: peft.VeraConfig(r=5, target_modules=LINEAR),
    "pissa": lambda: peft.LoraConfig(r=3, lora_alpha=5, init_lora_weights="pissa", target_modules=LINEAR),
    "olora": lambda: peft.LoraConfig(r=3, lora_alpha=5, init_lora_weights="olora", target_modules=LINEAR),
    "adalora": lambda: peft.AdaLoraConfig(init_r=3, target_r=2, lora_alpha=5, total_step=10, target_modules=LINEAR),
    "adalora-masked": lambda: peft.AdaLoraConfig(
        init_r=3,
        target_r=2,
        total_step=10,
        deltaT=2,
        rank_pattern={"up.lora_E": [False] * 3, "down.lora_E": [True, False, True]},
        target_modules=LINEAR,
    ),
    "ia3": lambda: peft.IA3Config(target_modules=LINEAR, feedforward_modules=["down"]),
    "oft-embedding": lambda: peft.OFTConfig(oft_block_size=4, target_modules=ALL),
    "conv-lora": lambda: peft.LoraConfig(r=3, lora_alpha=5, target_modules=UNGROUPED),
    "conv-dora": lambda: peft.LoraConfig(r=2, lora_alpha=3, use_dora=True, target_modules=UNGROUPED),
    "conv-hra": lambda: peft.HRAConfig(r=4, target_modules=IMAGES),
    "conv-oft": lambda: peft.OFTConfig(oft_block_size=4, target_modules=IMAGES),
    "conv-oft-point": lambda: peft.OFTConfig(r=2, oft_block_size=0, use_cayley_neumann=False, target_modules=["point"]),
    "conv-boft": lambda: peft.BOFTConfig(boft_block_size=4, target_modules=IMAGES),
    "conv-boft-2": lambda: peft.BOFTConfig(boft_block_size=2, boft_n_butterfly_factor=2, target_modules=IMAGES),
    "conv-loha": lambda: peft.LoHaConfig(r=2, alpha=3, target_modules=CONVS),
    "conv-loha-core": lambda: peft.LoHaConfig(r=2, alpha=3, use_effective_conv2d=True, target_modules=CONVS),
    "conv-lokr": lambda: peft.LoKrConfig(r=1, alpha=2, target_modules=CONVS),
    "conv-lokr-whole": lambda: peft.LoKrConfig(r=8, alpha=5, target_modules=["first", "grouped", "point"]),
    "conv-lokr-core": lambda: peft.LoKrConfig(r=1, alpha=2, use_effective_conv2d=True, decompose_both=True, target_modules=["first", "grouped", "point"]),
    "conv-adalora": lambda: peft.AdaLoraConfig(
        init_r=3,
        target_r=2,
        lora_alpha=5,
        total_step=10,
        rank_pattern={"first.lora_E": [True, False, True]},
        target_modules=IMAGES,
    ),
    "conv-ia3": lambda: peft.IA3Config(target_modules=["first", "grouped", "point"], feedforward_modules=["grouped"]),
}


class BlockDiag:
    """In place of PEFT's CUDA extension, without which it falls back to one butterfly factor."""

    @staticmethod
    def apply(blocks):
        return torch.stack([torch.block_diag(*factor) for factor in blocks])


boft.get_fbd_cuda, boft.FastBlockDiag = lambda: True, BlockDiag


def loha_core(t1, w1a, w1b, t2, w2a, w2b, scale):
    first, second = (torch.einsum("i j k l, j r, i p -> p r k l", t, b, a) for t, a, b in ((t1, w1a, w1b), (t2, w2a, w2b)))
    return first * second * scale


loha.make_weight_cp = loha_core


def is_conv(name: str) -> bool:
    return name.startswith("conv-")


def base(name: str) -> tuple[torch.nn.Module, torch.Tensor, torch.Tensor]:
    tensors = load_file(METHODS / ("conv-base.safetensors" if is_conv(name) else "base.safetensors"))
    ids, t = tensors.pop("ids"), tensors.pop("t")
    net = ConvNet() if is_conv(name) else Net()
    net.load_state_dict(tensors)
    return net.eval(), ids, t


def make_bases() -> None:
    METHODS.mkdir(exist_ok=True)
    torch.manual_seed(1)
    tensors = {key: value.contiguous() for key, value in Net().state_dict().items()}
    tensors |= {"ids": torch.randint(0, 11, (5,)), "t": torch.randn(5, 6)}
    save_file(tensors, METHODS / "base.safetensors")
    torch.manual_seed(1)
    tensors = {key: value.contiguous() for key, value in ConvNet().state_dict().items()}
    tensors |= {"ids": torch.randn(3, 4, 6, 5), "t": torch.randn(3, 4, 6)}
    save_file(tensors, METHODS / "conv-base.safetensors")


def make(name: str, config: PeftConfig) -> None:
    torch.manual_seed(sum(map(ord, name)))
    folder = METHODS / name
    net, ids, t = base(name)
    model = get_peft_model(net, config).eval()
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p.add_(0.3 * torch.randn_like(p))
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        (folder / file).unlink(missing_ok=True)
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    # The embedding's table is in base.safetensors: without it the file has what belongs to the adapter alone.
    own = {key: value for key, value in load_file(folder / "adapter_model.safetensors").items() if not key.endswith("embed.base_layer.weight")}
    save_file(own, folder / "adapter_model.safetensors", metadata={"format": "pt"})

    merged = PeftModel.from_pretrained(base(name)[0], folder).eval().merge_and_unload()
    with torch.no_grad():
        tensors = {"merged": merged(ids)}
    if name in MERGED_ONLY:
        save_file({"y": tensors["merged"].clone(), **tensors}, folder / "expected.safetensors")
        return
    trained = PeftModel.from_pretrained(base(name)[0], folder, is_trainable=True).eval()
    tensors["y"] = trained(ids).detach().clone()
    optimizer = torch.optim.SGD([p for p in trained.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(trained(ids), t).backward()
        optimizer.step()
    for key, value in get_peft_model_state_dict(trained).items():
        if key in own:
            tensors[f"sgd.{key}"] = value.detach().clone()
    save_file({key: value.contiguous() for key, value in tensors.items()}, folder / "expected.safetensors")


def check(name: str) -> None:
    folder = METHODS / name / "ours"
    net, ids, _ = base(name)
    config = PeftConfig.from_pretrained(folder)
    config.task_type = None  # the network is none of the tasks that PEFT has classes for
    model = get_peft_model(net, config).eval()
    tensors = load_file(folder / "adapter_model.safetensors")
    wanted = {key for key in get_peft_model_state_dict(model) if not key.endswith("embed.base_layer.weight")}
    if wanted != set(tensors):
        raise SystemExit(f"{folder}: missing {sorted(wanted - set(tensors))}, unexpected {sorted(set(tensors) - wanted)}")
    set_peft_model_state_dict(model, tensors)
    for key, value in get_peft_model_state_dict(model).items():
        if key in tensors and not torch.equal(value, tensors[key]):
            raise SystemExit(f"{folder}: {key} was not taken over")
    model = model.merge_and_unload() if name in MERGED_ONLY else model
    with torch.no_grad():
        save_file({"y": model(ids).contiguous()}, folder / "peft.safetensors")
    print(f"{name}: {len(tensors)} tensors loaded")


if __name__ == "__main__":
    named = [name for name in sys.argv[1:] if name != "--ours"]
    if "--ours" in sys.argv:
        for name in named or CONFIGS:
            check(name)
    else:
        if not named:
            make_bases()
        for name in named or CONFIGS:
            make(name, CONFIGS[name]())
        (METHODS / "versions.json").write_text(json.dumps({"torch": torch.__version__, "peft": peft.__version__}, indent=2) + "\n")
