"""Steps of adapters in PEFT on the quick start's model, in turns: `adapters.py MODEL THREADS`. Prints a line of JSON for each."""

import json
import sys
import time
import warnings

warnings.filterwarnings("ignore")

import numpy as np  # noqa: E402
import peft  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402

transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
folder, threads = sys.argv[1], int(sys.argv[2])
torch.set_num_threads(threads)
LAYERS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
CONFIGS = {
    "lora": peft.LoraConfig(r=4, lora_alpha=8, target_modules=LAYERS),
    "dora": peft.LoraConfig(r=4, lora_alpha=8, use_dora=True, target_modules=LAYERS),
    "hra": peft.HRAConfig(r=8, target_modules=LAYERS),
    "oft": peft.OFTConfig(oft_block_size=16, target_modules=LAYERS),
}
COLD, TIMED, LENGTH, BATCH = 2, 9, 256, 2


def start(config):
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model.config.use_cache = False
    model = peft.get_peft_model(model, config).train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3, weight_decay=0)

    def step(ids: torch.Tensor) -> float:
        began = time.perf_counter()
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        loss.item()
        return 1000 * (time.perf_counter() - began)

    return step


steps = {name: start(config) for name, config in CONFIGS.items()}
times = {name: [] for name in steps}
rng = np.random.default_rng(0)
for turn in range(COLD + TIMED):
    names = list(steps)
    for name in names if turn % 2 == 0 else reversed(names):
        ms = steps[name](torch.from_numpy(rng.integers(3, 4096, size=(BATCH, LENGTH))))
        if turn >= COLD:
            times[name].append(ms)
for name, all_ms in times.items():
    q1, median, q3 = np.quantile(all_ms, [0.25, 0.5, 0.75])
    line = {"bench": "adapters", "part": "peft", "row": name, "threads": threads, "samples": TIMED}
    line |= {"step_ms": round(median, 2), "q1_ms": round(q1, 2), "q3_ms": round(q3, 2)}
    print(json.dumps(line | {"details": f"torch {torch.__version__}, peft {peft.__version__}"}), flush=True)
