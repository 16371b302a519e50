import { digest } from "../check.js";
import { type Peer, peerEntry } from "../peers.js";
import { type Job, serve } from "../protocol.js";
import type { Spec } from "../rows/row.js";
import { lastNumber, onnxGraph, whole } from "./onnx-rows.js";

// What both packages share of onnxruntime-common, as far as it is used here: they are installed apart.
interface Session {
  run(feeds: Record<string, never>): Promise<Record<string, { data: ArrayLike<number> }>>;
  release(): Promise<void>;
}
interface Runtime {
  InferenceSession: { create(model: Uint8Array, options: object): Promise<Session> };
  env: { versions: { common: string }; wasm: { numThreads?: number } };
}

const lib = process.argv[2] as Peer;
const threads = Number(process.env["BENCH_THREADS"] ?? 1);
const entry = peerEntry(lib);
if (!entry) throw new Error(`${lib} is not installed: pnpm install in benchmarks/peers`);
const imported = (await import(entry)) as Runtime & { default?: Runtime };
const runtime = imported.default ?? imported;
if (lib === "onnxruntime-web") runtime.env.wasm.numThreads = threads;

/** The graph runs as it is written. Inputs are constants of the model, so that none is copied at each run. */
const open = (model: Uint8Array): Promise<Session> =>
  runtime.InferenceSession.create(model, {
    executionProviders: [lib === "onnxruntime-web" ? "wasm" : "cpu"],
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    graphOptimizationLevel: "disabled", // constants would be folded, the whole row with them
    logSeverityLevel: 3,
  });

async function job(spec: Spec): Promise<Job | string> {
  const graph = onnxGraph(spec);
  if (typeof graph === "string") return graph;
  const model = lastNumber(graph);
  const sessions: Session[] = [];
  for (let i = 0; i < (spec.kind === "matvec" ? spec.copies : 1); i++) sessions.push(await open(model));
  let turn = 0;
  return {
    async run() {
      await sessions[turn++ % sessions.length]!.run({});
    },
    async check() {
      const session = await open(whole(graph));
      const { y } = await session.run({});
      await session.release();
      return { y: digest(y!.data)["elements"]! };
    },
  };
}

await serve({
  lib,
  details: `${lib} ${runtime.env.versions.common}, ${lib === "onnxruntime-web" ? "wasm" : "cpu"}, Node ${process.versions.node}`,
  threads,
  jobs: {
    matmul: job,
    rank: job,
    chain: job,
    softmax: job,
    layernorm: job,
    mlp: job,
    decoder: job,
    matvec: job,
  },
});
