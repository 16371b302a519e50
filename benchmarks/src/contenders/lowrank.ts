import { wasm } from "@lowrank/backend-wasm";
import { setDefaultBackend } from "@lowrank/tensor";
import { serve } from "../protocol.js";
import { lowrankJobs } from "./lowrank-jobs.js";

const lib = process.argv[2] ?? "lowrank-wasm";
const threads = Number(process.env["BENCH_THREADS"] ?? 1);
const plain = process.env["BENCH_PLAIN"] === "1";
// The backend asks the engine whether it takes the kernels with relaxed SIMD, and takes the others where it does not.
if (plain) WebAssembly.validate = () => false;
const backend = await wasm({ threads });
if (plain === backend.relaxed)
  throw new Error(`relaxed SIMD is ${plain ? "in use" : "missing in this engine"}`);
setDefaultBackend(backend);

await serve({
  lib,
  details: `@lowrank/backend-wasm${plain ? " without relaxed SIMD" : ""}, Node ${process.versions.node}`,
  threads,
  jobs: lowrankJobs,
});
