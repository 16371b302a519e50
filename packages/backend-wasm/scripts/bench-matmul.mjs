// Times products of the shapes that training and inference use, on one thread, next to torch and to another checkout.
// Each takes turns; the figure is the least processor time of a turn, the submission of the graph included.
//
//   node scripts/bench-matmul.mjs [--part name] [--rounds 7] [--against ../other/checkout] [--plain]
//
// BENCH_PYTHON names a Python with torch. --plain times the kernels for engines without relaxed SIMD.

import { spawn } from "node:child_process";
import { dirname, join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { tsImport } from "tsx/esm/api";
import { buildWasm } from "./build-wasm.mjs";

const { values: flags } = parseArgs({
  options: {
    part: { type: "string", default: "" },
    rounds: { type: "string", default: "7" },
    against: { type: "string" },
    plain: { type: "boolean", default: false },
  },
});
/** Seconds of one turn. */
const TURN = 0.04;

/** [..., M, K] by [..., K, N]; an operand with ᵀ is stored as its transpose. */
const cases = [];
for (const n of [256, 512, 1024, 2048]) {
  for (const kind of ["nn", "tn", "nt", "tt"]) add(`square ${n} ${kind}`, [n, n, n], kind);
}
for (const r of [4, 8, 16, 64]) {
  add(`rank ${r}: x · Aᵀ`, [1024, 576, r], "nt");
  add(`rank ${r}: low · Bᵀ`, [1024, r, 576], "nt");
  add(`rank ${r}: dy · B`, [1024, 576, r]);
  add(`rank ${r}: dyᵀ · low`, [576, 1024, r], "tn");
  add(`rank ${r}: dlowᵀ · x`, [r, 1024, 576], "tn");
  add(`rank ${r}: dlow · A`, [1024, r, 576]);
}
add("decoder: x · Wᵀ", [1024, 256, 768], "nt");
add("decoder: dy · W", [1024, 768, 256]);
add("decoder: dyᵀ · x", [768, 1024, 256], "tn");
add("vocabulary: x · Wᵀ", [1024, 256, 4096], "nt");
add("MLP: x · Wᵀ", [128, 784, 1024], "nt");
add("MLP: dy · W", [128, 1024, 784]);
add("MLP: dyᵀ · x", [1024, 128, 784], "tn");
add("MLP: to 10", [128, 1024, 10], "nt");
add("MLP: 10, dyᵀ · x", [10, 128, 1024], "tn");
add("heads: q · kᵀ", [128, 64, 128], "nt", 64);
add("heads: p · v", [128, 128, 64], "nn", 64);
add("heads: pᵀ · dy", [128, 128, 64], "tn", 64);
for (const rows of [2, 4, 8, 16, 32, 64]) {
  add(`prefill ${rows}: x · Wᵀ`, [rows, 2048, 2048], "nt");
  add(`prefill ${rows}: x · W`, [rows, 2048, 2048]);
}

function add(name, [m, k, n], kind = "nn", batch = 1) {
  const lead = batch > 1 ? [batch] : [];
  const a = kind[0] === "t" ? [k, m] : [m, k];
  const b = kind[1] === "t" ? [n, k] : [k, n];
  cases.push({
    name,
    work: 2 * batch * m * k * n,
    kind,
    a: [...lead, ...a],
    b: [...lead, ...b],
    c: [...lead, m, n],
  });
}

async function contender(root) {
  const options = {
    parentURL: pathToFileURL(join(root, "scripts/x.mjs")).href,
    tsconfig: join(root, "tsconfig.json"),
  };
  const validate = WebAssembly.validate;
  if (flags.plain) WebAssembly.validate = () => false;
  const t = await tsImport("@lowrank/tensor", options);
  const { wasm } = await tsImport("../src/index.ts", options);
  const backend = await wasm({ threads: 1 });
  WebAssembly.validate = validate;
  let seed = 1;
  const filled = (dims) => {
    const data = new Float32Array(dims.reduce((x, y) => x * y, 1));
    for (let i = 0; i < data.length; i++)
      data[i] = (seed = (Math.imul(seed, 1664525) + 1013904223) | 0) / 2 ** 31;
    return t.parameter(t.fromHost("f32", dims, data));
  };
  return {
    async job({ kind, a, b, c }) {
      t.setDefaultBackend(backend);
      const [x, y, out] = [filled(a), filled(b), filled(c)];
      const run = t.compile(() => {
        const left = kind[0] === "t" ? t.transpose(x) : x;
        return out.assign(t.matmul(left, kind[1] === "t" ? t.transpose(y) : y));
      });
      await run();
      let times = 1;
      return async () => {
        t.setDefaultBackend(backend);
        const began = process.cpuUsage();
        for (let i = 0; i < times; i++) await run();
        const { user, system } = process.cpuUsage(began);
        const each = (user + system) / 1e6 / times;
        times = Math.max(1, Math.round(TURN / each));
        return each;
      };
    },
  };
}

const PYTHON = `
import sys, json, time, torch
torch.set_num_threads(1)
for line in sys.stdin:
    case = json.loads(line)
    if "a" in case:
        x, y = torch.rand(case["a"]) - 0.5, torch.rand(case["b"]) - 0.5
        left = x.transpose(-1, -2) if case["kind"][0] == "t" else x
        right = y.transpose(-1, -2) if case["kind"][1] == "t" else y
        out, times = torch.empty(case["c"]), 1
        torch.matmul(left, right, out=out)
    began = time.process_time()
    for _ in range(times): torch.matmul(left, right, out=out)
    each = (time.process_time() - began) / times
    times = max(1, round(${TURN} / each))
    print(each, flush=True)
`;

function torch(python) {
  const child = spawn(python, ["-c", PYTHON], { stdio: ["pipe", "pipe", "inherit"] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const ask = async (message) => {
    child.stdin.write(`${JSON.stringify(message)}\n`);
    return Number((await lines.next()).value);
  };
  return {
    async job(spec) {
      await ask(spec);
      return () => ask({});
    },
    stop: () => child.stdin.end(),
  };
}

await buildWasm();
const here = dirname(dirname(fileURLToPath(import.meta.url)));
const contenders = { lowrank: await contender(here) };
if (flags.against)
  contenders.against = await contender(join(resolve(flags.against), "packages/backend-wasm"));
if (process.env.BENCH_PYTHON) contenders.torch = torch(process.env.BENCH_PYTHON);
const names = Object.keys(contenders);
console.log(
  `${"GFLOP/s".padEnd(26)}${names.map((n) => n.padStart(9)).join("")}   ${names.slice(1).map((n) => `× ${n}`)}`,
);
for (const spec of cases) {
  if (!spec.name.includes(flags.part)) continue;
  const jobs = [];
  for (const name of names) jobs.push(await contenders[name].job(spec));
  const best = names.map(() => Infinity);
  for (let round = 0; round < Number(flags.rounds) + 2; round++) {
    for (const i of round % 2 ? [...jobs.keys()].reverse() : jobs.keys())
      best[i] = Math.min(best[i], await jobs[i]());
  }
  const rates = best.map((seconds) => (spec.work / seconds / 1e9).toFixed(1).padStart(9));
  const ratios = best.slice(1).map((seconds) => (seconds / best[0]).toFixed(2).padStart(6));
  console.log(`${spec.name.padEnd(26)}${rates.join("")}   ${ratios.join("")}`);
}
contenders.torch?.stop();
