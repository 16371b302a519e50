import "./navigator-gpu.js"; // before the library
import { adapterName, countCalls } from "./gpu.js";
import * as tf from "@tensorflow/tfjs";
import "@tensorflow/tfjs-backend-webgpu";
import { serve } from "../protocol.js";
import { tfjsJobs } from "./tfjs-jobs.js";

if (!(await tf.setBackend("webgpu"))) throw new Error("tfjs took no webgpu backend");
await tf.ready();

await serve({
  lib: "tfjs-webgpu",
  details: `@tensorflow/tfjs ${tf.version_core}, webgpu, Node ${process.versions.node}`,
  threads: 1,
  adapter: adapterName(),
  count: countCalls,
  jobs: tfjsJobs,
});
