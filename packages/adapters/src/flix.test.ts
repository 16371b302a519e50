import { Linear, Sequential, valueAndGrad, withContext } from "@lowrank/nn";
import { concat, key, normal, setDefaultBackend, type Tensor } from "@lowrank/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import { testBackend } from "../test/backend.js";
import { close, randomised, read } from "../test/layers.js";
import { attach } from "./attach.js";
import { flix, type FlixConfig, withFeatures } from "./flix.js";
import { lora } from "./lora.js";
import { contractChecks } from "./testing.js";

beforeAll(async () => setDefaultBackend(await testBackend()));

const features = ["sw", "bn", "qa"];
for (const check of contractChecks(
  flix,
  { features, rank: 2, alpha: 3, active: ["sw", "qa"] },
  { count: ({ inFeatures, outFeatures }) => 3 * 2 * (inFeatures + outFeatures) },
))
  test(check.name, check.run);

const x = normal([3, 5, 12], { key: key(1) });
const layer = (): Sequential => new Sequential(new Linear(12, 8, { key: key(2) })).eval() as Sequential;

/** A model with an adapter that is not at its start, and what it gives for features. */
async function bench(config: Partial<FlixConfig> = {}) {
  const model = layer();
  const adapted = await randomised(
    attach(model, flix, { features, rank: 2, ...config }, { targets: ["0"] }),
    3,
  );
  const run = (names: Parameters<typeof withFeatures>[0], input: Tensor = x): Promise<number[]> =>
    read(withFeatures(names, () => model.forward(input)));
  return { model, adapted, run, bare: await read(layer().forward(x)) };
}

describe("flix", () => {
  test("without features it is the base bit for bit", async () => {
    const { run, bare, model } = await bench();
    expect(await run([])).toEqual(bare);
    expect(await run([[], [], []])).toEqual(bare);
    expect(await read(model.forward(x))).toEqual(bare);
  });

  test("updates of features add up, in any order", async () => {
    const { run, bare } = await bench();
    const [both, sw, qa] = [await run(["sw", "qa"]), await run(["sw"]), await run(["qa"])];
    close(
      both,
      bare.map((y, i) => sw[i]! + qa[i]! - y),
      1e-5,
    );
    expect(await run(["qa", "sw"])).toEqual(both);
  });

  test("rows with their own features are what they are alone", async () => {
    const { run } = await bench();
    const mixed = await run([["sw", "qa"], [], ["bn"]]);
    const rows = [["sw", "qa"], [], ["bn"]] as const;
    for (const [i, names] of rows.entries()) {
      const alone = await run([...names], x.slice([[i, i + 1]]));
      close(mixed.slice(i * 40, i * 40 + 40), alone, 1e-5);
    }
  });

  test("with one feature it is the LoRA of the same key", async () => {
    const [one, other] = [layer(), layer()];
    const a = attach(
      one,
      flix,
      { features: ["all"], rank: 2, active: ["all"] },
      { targets: ["0"], key: key(4) },
    );
    const b = attach(other, lora, { rank: 2 }, { targets: ["0"], key: key(4) });
    const up = normal([8, 2], { key: key(5) });
    for (const [path, p] of [...a.parameters(), ...b.parameters()]) if (path.includes("_B.")) p.replace(up);
    close(await read(one.forward(x)), await read(other.forward(x)), 1e-6);
  });

  test("a feature that no row has gets a gradient of zero", async () => {
    const { model } = await bench();
    const step = valueAndGrad(model, () => model.forward(x).square().sum());
    const { grads } = withFeatures(["sw"], () => step());
    const dA = [...grads].find(([path]) => path.includes("_A."))![1]; // [3 · 2, 12]
    const [own, others] = [await read(dA.slice([[0, 2]])), await read(dA.slice([[2, 6]]))];
    expect(Math.max(...own.map(Math.abs))).toBeGreaterThan(0);
    expect(new Set(others.map(Math.abs))).toEqual(new Set([0]));
  });

  test("features are left out example by example, in all layers alike, and never scaled up", async () => {
    const model = new Sequential(
      new Linear(12, 12, { key: key(2), bias: false }),
      new Linear(12, 12, { key: key(6), bias: false }),
    );
    const config = { features, rank: 2, featureDropout: 0.5 };
    await randomised(attach(model, flix, config, { targets: ["0", "1"] }), 7);
    const rows = normal([12, 1, 12], { key: key(8) });
    const run = (): Tensor => withFeatures(["sw"], () => model.forward(rows));
    const trained = await read(withContext({ key: key(9) }, run));
    model.eval();
    const whole = await read(run());
    const bare = await read(withFeatures([], () => model.forward(rows)));
    const kinds = Array.from({ length: 12 }, (_, row) => {
      const at = (y: number[]): number[] => y.slice(row * 12, row * 12 + 12);
      const same = (a: number[], b: number[]): boolean => a.every((y, i) => Math.abs(y - b[i]!) < 1e-3);
      return same(at(trained), at(whole)) ? "in" : same(at(trained), at(bare)) ? "out" : "half";
    });
    expect([...new Set(kinds)].sort()).toEqual(["in", "out"]);
    model.train();
    expect(run).toThrow(/key/);
  });

  test("a batch of mixed features merges only by `active`", async () => {
    const { adapted, model, run } = await bench({ active: ["bn", "sw"] });
    const apart = await run(["bn", "sw"]);
    close(await read(model.forward(x)), apart, 0);
    await adapted.merge();
    close(await read(model.forward(x)), apart, 1e-5);
  });

  test.each([
    [{ features: [] }, /features to be a list of different names/],
    [{ features: ["a", "a"] }, /different names/],
    [{ features, active: ["de"] }, /features among "sw", "bn", "qa", got "de"/],
    [{ features, featureDropout: 1 }, /featureDropout/],
  ])("refuses %o", (config, message) => {
    expect(() => attach(layer(), flix, config, { targets: ["0"] })).toThrow(message);
  });

  test("refuses rows that are not those of the batch", async () => {
    const { model } = await bench();
    expect(() => withFeatures([["sw"], ["bn"]], () => model.forward(x))).toThrow(/an axis of 2 rows first/);
    expect(() => withFeatures(["de"], () => model.forward(concat([x, x], 0)))).toThrow(/got "de"/);
  });
});
