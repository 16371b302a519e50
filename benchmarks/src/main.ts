import { parseArgs } from "node:util";
import Table from "cli-table3";
import { benchCore, CORE_LIBS, CORE_ROWS } from "./core.js";
import { benchMemory } from "./memory.js";
import type { Sample, Summary } from "./statistics.js";

const HELP = `pnpm bench NAME [options]

  core     products, element-wise chains, rows and training steps, beside @jax-js/jax, tfjs, numpy and torch
  memory   live memory over 1,000 steps of a small network and 300 of the quick start

  --json           one JSON object a line
  --rows a,b       only these rows (a name, or its beginning with a *)
  --threads N      threads of each library (default 1)
  --samples N      timed runs of each library and row (default 9)
  --quick          3 samples and a short warm-up

BENCH_PYTHON names the Python that has numpy and torch (default python3).`;

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    json: { type: "boolean", default: false },
    rows: { type: "string" },
    threads: { type: "string", default: "1" },
    samples: { type: "string" },
    quick: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});

const fits = (row: string): boolean =>
  !flags.rows ||
  flags.rows.split(",").some((p) => (p.endsWith("*") ? row.startsWith(p.slice(0, -1)) : row === p));

async function core(): Promise<void> {
  const rows = CORE_ROWS.filter(fits);
  if (rows.length === 0)
    throw new Error(`bench core: expected --rows among ${CORE_ROWS.join(", ")}, got ${flags.rows}`);
  const lines: (Sample | Summary)[] = [];
  await benchCore({
    rows,
    threads: Number(flags.threads),
    samples: Number(flags.samples ?? (flags.quick ? 3 : 9)),
    warmUpMs: flags.quick ? 100 : 1000,
    onLine(line) {
      lines.push(line);
      if (flags.json) console.log(JSON.stringify(line));
      else if ("summary" in line) console.error(`${line.row} done`);
    },
  });
  if (!flags.json) console.log(table(lines));
}

function table(lines: readonly (Sample | Summary)[]): string {
  const out = new Table({
    head: ["row", ...CORE_LIBS.map((l) => `${l} ms`), "× best JS", "× native"],
    style: { head: [], border: [] },
  });
  for (const s of lines) {
    if (!("summary" in s)) continue;
    const cell = (lib: string): string => {
      const found = lines.find((l): l is Sample => !("summary" in l) && l.row === s.row && l.lib === lib);
      return found?.median_ms === undefined ? "–" : found.median_ms.toPrecision(3);
    };
    out.push([s.row, ...CORE_LIBS.map(cell), String(s.ratio_best_js ?? "–"), String(s.ratio_native ?? "–")]);
  }
  return out.toString();
}

const [name] = positionals;
if (flags.help || !name) console.log(HELP);
else if (name === "core") await core();
else if (name === "memory")
  await benchMemory({ json: flags.json, quick: flags.quick, threads: Number(flags.threads) });
else throw new Error(`bench: expected core or memory, got ${name}`);
