"""The same fine-tuning in torch and PEFT: `finetune.py JOB`, see finetune.ts. Prints a line of JSON for each step."""

import json
import resource
import sys
import time
import warnings

warnings.filterwarnings("ignore")
began = time.perf_counter()
job = json.load(open(sys.argv[1]))

import numpy as np  # noqa: E402
import torch  # noqa: E402
import peft  # noqa: E402
import transformers  # noqa: E402

transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
torch.set_num_threads(job["threads"])
model = transformers.AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32)
model.config.use_cache = False
model = peft.PeftModel.from_pretrained(model, job["adapter"], is_trainable=True)
if job["recompute"]:
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.enable_input_require_grads()
model.train()
trained = [p for p in model.parameters() if p.requires_grad]
optimizer = torch.optim.AdamW(trained, lr=job["lr"], weight_decay=0)
rows = torch.from_numpy(np.fromfile(job["batches"], dtype=np.int32).astype(np.int64).reshape(-1, job["length"]))


def show(**line):
    print(json.dumps(line), flush=True)


details = f"torch {torch.__version__}, peft {peft.__version__}, transformers {transformers.__version__}"
show(type="ready", load_ms=1000 * (time.perf_counter() - began), details=details)
for step in range(job["steps"]):
    at, cpu = time.perf_counter(), time.process_time()
    batch = rows[step * job["batch"] : (step + 1) * job["batch"]]
    loss = model(input_ids=batch, labels=batch).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(trained, 1.0)
    optimizer.step()
    optimizer.zero_grad()
    value = loss.item()
    ms = 1000 * (time.perf_counter() - at)
    show(type="step", step=step + 1, loss=value, ms=ms, cpu_ms=1000 * (time.process_time() - cpu))
show(type="end", peak_rss_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
