/**
 * Ten clients learn digits together, none of which sees the others': federated averaging with the wide layers dense, of low rank, as
 * FedPara and as pFedPara, and the bytes that each sends.
 *
 *   pnpm --filter @lowrank-examples/fedavg start
 */
import { readFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { wasm } from "@lowrank/backend-wasm";
import { setDefaultBackend } from "@lowrank/tensor";
import { countOf, type Digits, loadDigits, pick, splitUnevenly } from "./digits.js";
import { Federation } from "./federation.js";
import { type Form, networkOf, RATES } from "./network.js";
import { type Line, table } from "./table.js";

const { values: flags } = parseArgs({
  options: {
    rounds: { type: "string", default: "60" },
    clients: { type: "string", default: "10" },
    width: { type: "string", default: "256" },
    epochs: { type: "string", default: "1" },
    batch: { type: "string", default: "32" },
    lr: { type: "string" },
    decay: { type: "string", default: "0.99" },
    seeds: { type: "string", default: "1" },
    seed: { type: "string", default: "0" },
    forms: { type: "string", default: "dense,low rank,FedPara,pFedPara" },
    json: { type: "boolean", default: false },
    table: { type: "string" },
  },
});
const number = (name: Exclude<keyof typeof flags, "forms" | "json" | "table">): number => Number(flags[name]);
const [rounds, clients, width] = [number("rounds"), number("clients"), number("width")];
const [epochs, batch, decay] = [number("epochs"), number("batch"), number("decay")];

if (flags.table !== undefined) {
  const saved = (await readFile(flags.table, "utf8")).trim().split("\n");
  console.log(table(saved.map((line) => JSON.parse(line) as Line)));
  process.exit();
}

setDefaultBackend(await wasm());

/** A fifth of a client's digits, and the rest. */
function heldOut(digits: Digits): { own: Digits; train: Digits } {
  const places = Array.from({ length: countOf(digits) }, (_, i) => i);
  return {
    own: pick(
      digits,
      places.filter((i) => i % 5 === 0),
    ),
    train: pick(
      digits,
      places.filter((i) => i % 5 !== 0),
    ),
  };
}

const lines: Line[] = [];
for (let seed = number("seed"); seed < number("seed") + number("seeds"); seed++) {
  const { train, test } = await loadDigits(seed);
  const parts = (await splitUnevenly(train, clients, seed)).map(heldOut);
  if (!flags.json)
    console.log(`seed ${seed}: clients learn ${parts.map(({ train: t }) => countOf(t)).join(", ")} digits`);
  for (const form of flags.forms.split(",") as Form[]) {
    const lr = flags.lr === undefined ? RATES[form] : Number(flags.lr);
    const options = { form, epochs, batch, lr, decay, seed };
    const network = networkOf(form, width, seed);
    const federation = await Federation.start(
      network,
      parts.map(({ train: t }) => t),
      options,
    );
    const began = performance.now();
    for (let round = 1; round <= rounds; round++) {
      await federation.round();
      const accuracy = form === "pFedPara" ? null : await federation.accuracy(test);
      let local = 0;
      for (const [c, { own }] of parts.entries()) local += (await federation.accuracy(own, c)) / clients;
      const seconds = Math.round((performance.now() - began) / 100) / 10;
      const line = { form, seed, round, bytes: federation.bytes, accuracy, local, seconds };
      lines.push(line);
      if (flags.json) console.log(JSON.stringify(line));
      else if (round % 10 === 0 || round === rounds) {
        const sent = (federation.bytes / 1e6).toFixed(2);
        console.log(
          `${form}, round ${round}: ${(100 * (accuracy ?? local)).toFixed(2)} %, ${sent} MB sent, ${seconds} s`,
        );
      }
    }
    for (const [, p] of network.parameters()) p.dispose();
  }
}
if (!flags.json) console.log(`\n${table(lines)}`);
