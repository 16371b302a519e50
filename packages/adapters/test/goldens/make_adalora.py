"""Makes adalora/: what PEFT does in 14 updates of AdaLoRA with a budget on the network of make_methods.py.

    venv/bin/python make_adalora.py

    start/, end/             the adapter before and after, as PEFT saves it; end has a rank_pattern
    expected.safetensors     losses [14], the term of PEFT in them; budgets [14]; masks [14, 8], which triplets of up and down
                             PEFT's pattern keeps after an update, all before the first
For the venv see make_goldens.py. AdamW: lr 0.05, betas (0.9, 0.999), eps 1e-8, weight decay 0.01.
"""

import shutil
from types import SimpleNamespace

import peft
import torch
from make_methods import METHODS, Net
from peft import PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

FOLDER = METHODS.parent / "adalora"
STEPS = 14


class Trained(Net):
    def forward(self, ids, t):
        return SimpleNamespace(loss=torch.nn.functional.mse_loss(super().forward(ids), t))


def save(model: PeftModel, name: str) -> None:
    model.save_pretrained(FOLDER / name)
    (FOLDER / name / "README.md").unlink(missing_ok=True)


tensors = load_file(METHODS / "base.safetensors")
ids, t = tensors.pop("ids"), tensors.pop("t")
net = Trained()
net.load_state_dict(tensors)
torch.manual_seed(3)
config = peft.AdaLoraConfig(
    init_r=4,
    target_r=2,
    lora_alpha=6,
    tinit=2,
    tfinal=3,
    deltaT=2,
    beta1=0.8,
    orth_reg_weight=0.1,
    total_step=STEPS,
    target_modules=["up", "down"],
)
model = get_peft_model(net, config).eval()
with torch.no_grad():
    for p in model.parameters():
        if p.requires_grad:
            p.add_(0.3 * torch.randn_like(p))
shutil.rmtree(FOLDER, ignore_errors=True)
save(model, "start")

optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.05, weight_decay=0.01)
losses, budgets, masks = [], [], []
for step in range(1, STEPS + 1):
    loss = model.base_model(ids, t).loss  # PeftModel without a task goes past the term
    loss.backward()
    optimizer.step()
    model.base_model.update_and_allocate(step)
    optimizer.zero_grad()
    losses.append(loss.detach())
    budgets.append(float(model.base_model.rankallocator.budget_schedule(step)[0]))
    pattern = model.peft_config["default"].rank_pattern or {}
    masks.append([float(kept) for layer in ("up", "down") for kept in pattern.get(f"{layer}.lora_E.default", [True] * 4)])
save(model, "end")
save_file({"losses": torch.stack(losses), "budgets": torch.tensor(budgets), "masks": torch.tensor(masks)}, FOLDER / "expected.safetensors")
print(budgets, *masks, sep="\n")
