import { createRequire } from "node:module";
import { dirname } from "node:path";
import * as tf from "@tensorflow/tfjs-core";
import { setWasmPaths } from "@tensorflow/tfjs-backend-wasm";
import { A, B, N, tell } from "./task.mjs";

const require = createRequire(import.meta.url);
setWasmPaths(`${dirname(require.resolve("@tensorflow/tfjs-backend-wasm/package.json"))}/wasm-out/`);
await tf.setBackend("wasm");
await tf.ready();
const y = tf.matMul(tf.tensor(A, [N, N]), tf.tensor(B, [N, N]));
tell(`@tensorflow/tfjs-core ${tf.version_core}, wasm SIMD`, await y.data());
