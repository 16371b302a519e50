/**
 * Makes the folder `test/goldens/ours`: an adapter that this library saves, and what PEFT computes with it.
 *
 *     npx tsx --tsconfig packages/adapters/tsconfig.json packages/adapters/scripts/make-golden.ts
 *     venv/bin/python packages/adapters/test/goldens/check_peft_loads.py \
 *       packages/adapters/test/goldens/ours packages/adapters/test/goldens/ours/peft_logits.safetensors
 *
 * The second command refuses a file with missing or unexpected tensors; for its venv see make_goldens.py.
 */
import { fileURLToPath } from "node:url";
import { attach, lora, savePeft } from "@lowrank/adapters";
import { fromPretrained } from "@lowrank/models";
import { evaluate, key, normal, setDefaultBackend } from "@lowrank/tensor";
import { reference } from "@lowrank/tensor/reference";

setDefaultBackend(reference());
const at = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const model = await fromPretrained(at("../../models/test/goldens/llama-untied"));
const adapted = attach(
  model,
  lora,
  { rank: 3, alpha: 5, useRslora: true },
  {
    targets: "all-linear",
    key: key(4),
    rankPattern: { up_proj: 2 },
    alphaPattern: { "layers.1.mlp.down_proj": 9 },
  },
);
await evaluate(
  ...[...adapted.parameters()].map(([path, p]) =>
    p.assign(normal(p.shape, { key: key(9).foldName(path), std: 0.2 })),
  ),
);
await savePeft(adapted, at("../test/goldens/ours"), { baseModel: "llama-untied", replace: true });
