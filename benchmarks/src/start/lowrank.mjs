import { wasm } from "@lowrank/backend-wasm";
import { matmul, setDefaultBackend, tensor } from "@lowrank/tensor";
import { A, B, N, tell } from "./task.mjs";

setDefaultBackend(await wasm({ threads: 1 }));
const y = matmul(tensor(A, { shape: [N, N] }), tensor(B, { shape: [N, N] }));
tell("@lowrank/backend-wasm as built", await y.data());
