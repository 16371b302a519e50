import type { Sample } from "./result.js";
import { JS_PEERS, OURS, significant } from "./statistics.js";

/** The lines of one row in one run, by library. */
export type RowTimes = (lib: string) => number | null;

/** What the rows of a run are to reach. */
interface Goal {
  rows: readonly string[];
  /** The run that it is judged in: one thread or two. */
  threads: 1 | 2;
  what: string;
  /** From medians in milliseconds; null where one of them is missing. */
  measure: (ms: RowTimes) => number | null;
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

const square = [512, 1024, 2048].flatMap((n) => ["", "-tn", "-nt", "-tt"].map((t) => `matmul-${n}${t}`));

/** How many times as fast `lib` is as `other`. */
const speed =
  (other: string, lib: string = OURS) =>
  (ms: RowTimes): number | null => {
    const [theirs, its] = [ms(other), ms(lib)];
    return theirs === null || its === null ? null : theirs / its;
  };

function overBestPeer(ms: RowTimes): number | null {
  const [ours, peers] = [ms(OURS), JS_PEERS.map(ms).filter((x) => x !== null)];
  return ours === null || peers.length === 0 ? null : Math.min(...peers) / ours;
}

function beyondNode(ms: RowTimes): number | null {
  const [ours, bare] = [ms(OURS), ms("node")];
  return ours === null || bare === null ? null : ours - bare;
}

/** "Level" leaves the 5 % by which two runs of the same program differ. */
const LEVEL = 0.95;

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
  { rows: ["start"], threads: 1, what: "ms beyond Node alone", measure: beyondNode, atMost: 40 },
];

/** The goals of a run's rows, each with what was measured. */
export function judgeRun(samples: readonly Sample[]): Judged[] {
  const threads = samples[0]?.threads;
  const rows = [...new Set(samples.map((s) => s.row))];
  return rows.flatMap((row) => {
    const ms: RowTimes = (lib) => samples.find((s) => s.row === row && s.lib === lib)?.median_ms ?? null;
    return GOALS.filter((g) => g.threads === threads && g.rows.includes(row)).map((g) => {
      const found = g.measure(ms);
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
