import { createRequire } from "node:module";
import { dirname } from "node:path";
import * as tf from "@tensorflow/tfjs";
import { setWasmPaths } from "@tensorflow/tfjs-backend-wasm";
import { serve } from "../protocol.js";
import { tfjsJobs } from "./tfjs-jobs.js";

const require = createRequire(import.meta.url);
setWasmPaths(`${dirname(require.resolve("@tensorflow/tfjs-backend-wasm/package.json"))}/wasm-out/`);
await tf.setBackend("wasm");
await tf.ready();

await serve({
  lib: "tfjs-wasm",
  details: `@tensorflow/tfjs ${tf.version_core}, wasm SIMD, Node ${process.versions.node}`,
  threads: 1, // in Node it never takes more
  jobs: tfjsJobs,
});
