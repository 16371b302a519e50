import { attach, lora } from "@lowrank/adapters";
import { wasm } from "@lowrank/backend-wasm";
import { Linear } from "@lowrank/nn";
import { key, normal, setDefaultBackend } from "@lowrank/tensor";

setDefaultBackend(await wasm());
const layer = new Linear(8, 8, { key: key(1) });
attach(layer, lora, { rank: 2 }, { targets: "all-linear" });
document.body.textContent = String(await layer.forward(normal([1, 8], { key: key(2) })).toArray());
