import { native } from "@lowrank/backend-native";
import { setDefaultBackend } from "@lowrank/tensor";
import { serve } from "../protocol.js";
import { lowrankJobs } from "./lowrank-jobs.js";

const threads = Number(process.env["BENCH_THREADS"] ?? 1);
const backend = await native({ threads });
if (!backend.library) throw new Error("there is no BLAS on this machine");
setDefaultBackend(backend);

const { name, version, path } = backend.library;
await serve({
  lib: "lowrank-native",
  details: `@lowrank/backend-native on ${name} ${version} (${path.split("/").pop()}), Node ${process.versions.node}`,
  threads,
  jobs: lowrankJobs,
});
