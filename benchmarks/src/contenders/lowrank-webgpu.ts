import { adapterName, countCalls } from "./gpu.js"; // before a device is asked for
import { dawn } from "@lowrank/backend-dawn";
import { setDefaultBackend } from "@lowrank/tensor";
import { serve } from "../protocol.js";
import { lowrankJobs } from "./lowrank-jobs.js";

setDefaultBackend(await dawn());

await serve({
  lib: "lowrank-webgpu",
  details: `@lowrank/backend-dawn, Node ${process.versions.node}`,
  threads: 1,
  adapter: adapterName(),
  count: countCalls,
  jobs: lowrankJobs,
});
