import { markdownTable } from "./markdown.js";
import type { Sample } from "./result.js";
import { GPU_PEERS, JS_PEERS, OURS, OURS_GPU, significant } from "./statistics.js";

/** The lines of one row in one run, by library. */
export type RowTimes = (lib: string) => number | null;

/** What the rows of a run are to reach. */
interface Goal {
  rows: readonly string[];
  /** The run that it is judged in: `core` on one thread or two, or `webgpu` on a software adapter or a real one. */
  threads: 1 | 2 | "software" | "gpu";
  what: string;
  /** Judged only in runs that this library took part in. Default: in all. */
  lib?: string;
  /** From medians in milliseconds, or from whole lines; null where one of them is missing. */
  measure: (ms: RowTimes, line: (lib: string) => Sample | undefined) => number | null;
  atLeast?: number;
  atMost?: number;
}

export interface Judged {
  row: string;
  what: string;
  goal: string;
  measured: number | null;
  /** Null where nothing was measured. */
  met: boolean | null;
}

const productsOf = (sizes: readonly number[]): string[] =>
  sizes.flatMap((n) => ["", "-tn", "-nt", "-tt"].map((t) => `matmul-${n}${t}`));
const square = productsOf([512, 1024, 2048]);
const products = productsOf([256, 512, 1024, 2048]);
const steps = ["mlp", "decoder"];

/** How many times as fast `lib` is as `other`. */
const speed =
  (other: string, lib: string = OURS) =>
  (ms: RowTimes): number | null => {
    const [theirs, its] = [ms(other), ms(lib)];
    return theirs === null || its === null ? null : theirs / its;
  };

const overBest =
  (lib: string, others: readonly string[]) =>
  (ms: RowTimes): number | null => {
    const [ours, peers] = [ms(lib), others.map(ms).filter((x) => x !== null)];
    return ours === null || peers.length === 0 ? null : Math.min(...peers) / ours;
  };
/** "Level" leaves the 5 % by which two runs of the same program differ. */
const LEVEL = 0.95;

const NATIVE = "lowrank-native";
/** The library under both must be one: LOWRANK_BLAS may name that of SciPy's wheel, which is close to that of NumPy's. */
const ON_BLAS: readonly Goal[] = ([1, 2] as const).flatMap((threads): Goal[] => [
  { rows: square, threads, what: "native, × OpenBLAS", measure: speed("numpy", NATIVE), atLeast: LEVEL },
  {
    rows: square,
    threads,
    what: "native, × best JavaScript peer",
    measure: overBest(NATIVE, JS_PEERS),
    atLeast: 3,
  },
  { rows: ["mlp"], threads, what: "native, × torch", measure: speed("torch", NATIVE), atLeast: 0.85 },
  { rows: ["decoder"], threads, what: "native, × torch", measure: speed("torch", NATIVE), atLeast: 0.8 },
]);

const overBestPeer = overBest(OURS, JS_PEERS);
const overBestGpuPeer = overBest(OURS_GPU, GPU_PEERS);
const lessWork: Goal["measure"] = (_, line) => overBestGpuPeer((lib) => line(lib)?.cpu_ms ?? null);

function beyondNode(ms: RowTimes): number | null {
  const [ours, bare] = [ms(OURS), ms("node")];
  return ours === null || bare === null ? null : ours - bare;
}

const GOALS: readonly Goal[] = [
  { rows: square, threads: 1, what: "× OpenBLAS", measure: speed("numpy"), atLeast: 0.47 },
  { rows: square, threads: 1, what: "× best JavaScript peer", measure: overBestPeer, atLeast: 1.65 },
  {
    rows: square,
    threads: 1,
    what: "without relaxed SIMD, × OpenBLAS",
    measure: speed("numpy", "lowrank-wasm-plain"),
    atLeast: 0.36,
  },
  { rows: square, threads: 2, what: "× OpenBLAS", measure: speed("numpy"), atLeast: 0.46 },
  { rows: square, threads: 2, what: "× best JavaScript peer", measure: overBestPeer, atLeast: 1.6 },
  {
    rows: ["rank-8", "rank-8-grad"],
    threads: 1,
    what: "× best JavaScript peer",
    measure: overBestPeer,
    atLeast: 1.5,
  },
  { rows: ["chain"], threads: 1, what: "× onnxruntime-web", measure: speed("onnxruntime-web"), atLeast: 1.5 },
  { rows: ["chain"], threads: 1, what: "× jax-js", measure: speed("jax-js"), atLeast: 4 },
  {
    rows: ["chain"],
    threads: 1,
    what: "× onnxruntime-node",
    measure: speed("onnxruntime-node"),
    atLeast: LEVEL,
  },
  {
    rows: ["softmax", "softmax-grad"],
    threads: 1,
    what: "× tfjs-wasm",
    measure: speed("tfjs-wasm"),
    atLeast: LEVEL,
  },
  {
    rows: ["layernorm", "layernorm-grad"],
    threads: 1,
    what: "× tfjs-wasm",
    measure: speed("tfjs-wasm"),
    atLeast: 2.5,
  },
  {
    rows: ["softmax", "softmax-grad", "layernorm", "layernorm-grad"],
    threads: 1,
    what: "× torch",
    measure: speed("torch"),
    atLeast: 0.5,
  },
  { rows: ["mlp"], threads: 1, what: "× jax-js", measure: speed("jax-js"), atLeast: 1.7 },
  { rows: ["decoder"], threads: 1, what: "× jax-js", measure: speed("jax-js"), atLeast: 2 },
  { rows: ["mlp", "decoder"], threads: 1, what: "× torch", measure: speed("torch"), atLeast: 0.55 },
  { rows: ["mlp"], threads: 2, what: "× one thread", measure: speed("lowrank-wasm-1"), atLeast: 1.6 },
  { rows: ["decoder"], threads: 2, what: "× one thread", measure: speed("lowrank-wasm-1"), atLeast: 1.7 },
  { rows: ["decoder-first"], threads: 1, what: "ms", measure: (ms) => ms(OURS), atMost: 1000 },
  {
    rows: ["f32", "f16", "int8", "int4"].map((dtype) => `matvec-4096-${dtype}`),
    threads: 1,
    what: "× the time of reading the weights",
    measure: speed(OURS, "reading"),
    atMost: 1.3,
  },
  ...(["software", "gpu"] as const).flatMap((threads): Goal[] => [
    { rows: products, threads, what: "× best peer", measure: overBestGpuPeer, atLeast: 1 },
    { rows: steps, threads, what: "× best peer", measure: overBestGpuPeer, atLeast: 1.5 },
  ]),
  // There the kernels are work of the processors: the steadier measure beside what else the machine does.
  { rows: products, threads: "software", what: "× best peer, work", measure: lessWork, atLeast: 1 },
  { rows: steps, threads: "software", what: "× best peer, work", measure: lessWork, atLeast: 1.5 },
  {
    rows: ["chain", "softmax", "softmax-grad", "layernorm", "layernorm-grad"],
    threads: "gpu",
    what: "of the copy bandwidth",
    measure: (_, line) => line(OURS_GPU)?.of_bandwidth ?? null,
    atLeast: 0.7,
  },
  {
    rows: products.filter((row) => row.startsWith("matmul-2048")),
    threads: "gpu",
    what: "of the f32 rate",
    measure: (_, line) => line(OURS_GPU)?.of_f32 ?? null,
    atLeast: 0.5,
  },
  ...ON_BLAS.map((goal) => ({ ...goal, lib: NATIVE })),
  { rows: ["start"], threads: 1, what: "ms beyond Node alone", measure: beyondNode, atMost: 40 },
];

/** Which goals a run is held to. */
function runOf(samples: readonly Sample[]): Goal["threads"] | undefined {
  const first = samples[0];
  if (first?.bench !== "webgpu") return first?.threads as 1 | 2 | undefined;
  const adapter = samples.find((s) => s.adapter)?.adapter ?? "";
  return /software|llvmpipe|swiftshader|basic render/i.test(adapter) ? "software" : "gpu";
}

/** The goals of a run's rows, each with what was measured. */
export function judgeRun(samples: readonly Sample[]): Judged[] {
  const run = runOf(samples);
  const rows = [...new Set(samples.map((s) => s.row))];
  return rows.flatMap((row) => {
    const line = (lib: string): Sample | undefined => samples.find((s) => s.row === row && s.lib === lib);
    const ms: RowTimes = (lib) => line(lib)?.median_ms ?? null;
    const judged = GOALS.filter(
      (g) => g.threads === run && g.rows.includes(row) && (g.lib === undefined || line(g.lib) !== undefined),
    );
    return judged.map((g) => {
      const found = g.measure(ms, line);
      const met = found === null ? null : found >= (g.atLeast ?? 0) && found <= (g.atMost ?? Infinity);
      return {
        row,
        what: g.what,
        goal: g.atLeast === undefined ? `≤ ${g.atMost}` : `≥ ${g.atLeast}`,
        measured: found === null ? null : significant(found, 3),
        met,
      };
    });
  });
}

/** The goals of a run as a table; empty where its rows have none. */
export function goalsMarkdown(samples: readonly Sample[]): string {
  const judged = judgeRun(samples);
  if (judged.length === 0) return "";
  const answer = (met: boolean | null): string => (met === null ? "–" : met ? "yes" : "no");
  const rows = judged.map((j) => [j.row, j.what, j.goal, String(j.measured ?? "–"), answer(j.met)]);
  const reached = judged.filter((j) => j.met).length;
  return [
    `Goals: ${reached} of ${judged.length} reached.`,
    markdownTable(["row", "what", "goal", "measured", "reached"], rows),
  ].join("\n\n");
}
