import "./navigator-gpu.js"; // before the library
import { adapterName, countCalls } from "./gpu.js";
import { defaultDevice, init } from "@jax-js/jax";
import { serve } from "../protocol.js";
import { jaxJobs } from "./jax-js-jobs.js";

await init("webgpu");
defaultDevice("webgpu");

await serve({
  lib: "jax-js-webgpu",
  details: `@jax-js/jax 0.1.25, webgpu, jit, Node ${process.versions.node}`,
  threads: 1,
  adapter: adapterName(),
  count: countCalls,
  jobs: jaxJobs,
});
