// Every op of the core, used or not, and the embedded backend with its kernels.
export * from "@lowrank/tensor";
export * from "@lowrank/backend-wasm";
