import "./workers.js"; // before the library
import { defaultDevice, init } from "@jax-js/jax";
import { serve } from "../protocol.js";
import { jaxJobs } from "./jax-js-jobs.js";

const threads = Number(process.env["BENCH_THREADS"] ?? 1);
await init("wasm");
defaultDevice("wasm");

await serve({
  lib: "jax-js",
  details: `@jax-js/jax 0.1.25, wasm, jit, Node ${process.versions.node}${threads > 1 ? ", its Worker provided" : ""}`,
  threads,
  jobs: jaxJobs,
});
