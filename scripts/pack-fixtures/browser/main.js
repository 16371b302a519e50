import { attach, lora } from "@lowrank/adapters";
import { wasm } from "@lowrank/backend-wasm";
import { Linear, Sequential } from "@lowrank/nn";
import { key, normal, setDefaultBackend } from "@lowrank/tensor";

setDefaultBackend(await wasm());
const model = new Sequential(new Linear(8, 8, { key: key(1) }));
attach(model, lora, { rank: 2 }, { targets: "all-linear" });
document.body.textContent = String(await model.forward(normal([1, 8], { key: key(2) })).toArray());
