import { fileURLToPath } from "node:url";
import { Linear, mse, Sequential, valueAndGrad } from "@lowrank/nn";
import { AdamW } from "@lowrank/optim";
import { key, normal, setDefaultBackend, type Tensor } from "@lowrank/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import { expectNear, type Goldens, readGoldens } from "../../models/test/golden-files.js";
import { testBackend } from "../test/backend.js";
import { read } from "../test/layers.js";
import { Net } from "../test/methods.js";
import { adaLora, type AdaLoraConfig } from "./adalora.js";
import { type AdaLoraBudget, adaLoraBudget, adaLoraSchedule } from "./adalora-budget.js";
import type { Adapter } from "./adapter.js";
import { attach, type Attached } from "./attach.js";
import { lora } from "./lora.js";
import { loadPeft, peftFiles } from "./peft.js";
import { regularized } from "./regularized.js";

beforeAll(async () => setDefaultBackend(await testBackend()));

const at = (path: string): string => fileURLToPath(new URL(`../test/goldens/${path}`, import.meta.url));
const adapters = [adaLora as unknown as Adapter];

test("the schedule stays, falls as a cube, and stays", () => {
  const config: AdaLoraConfig = { rank: 10, targetRank: 2, steps: 30, tinit: 5, tfinal: 5 };
  const budgets = [0, 5, 6, 15, 24, 25, 26, 30].map((step) => adaLoraSchedule(config, 30, 3, step));
  expect(budgets).toEqual([30, 30, 26, 9, 6, 6, 6, 6]);
});

describe("against PEFT", () => {
  interface Run {
    net: Net;
    adapted: Attached<Net>;
    budget: AdaLoraBudget<Net>;
    step(): Promise<number>;
  }

  async function start(base: Goldens): Promise<Run> {
    const net = new Net().eval() as Net;
    for (const [path, p] of net.parameters()) p.replace(base.tensor(path));
    const adapted = await loadPeft(net, at("adalora/start"), { adapters, trainable: true });
    const optimizer = new AdamW(net.trainableParameters(), { lr: 0.05, weightDecay: 0.01, groups: [] });
    const budget = adaLoraBudget(adapted, optimizer);
    const loss = (): Tensor => mse(net.forward(base.tensor("ids")), base.tensor("t"));
    const grads = valueAndGrad(net, () => regularized(net, loss));
    const step = async (): Promise<number> => {
      const { value, grads: all } = grads();
      await budget.step(all, { also: [value] });
      return value.item();
    };
    return { net, adapted, budget, step };
  }

  test("14 updates have its losses, budgets and masks, and end in its folder", async () => {
    const base = await readGoldens(at("methods/base.safetensors"));
    const want = await readGoldens(at("adalora/expected.safetensors"));
    const { net, budget, step } = await start(base);
    for (let i = 0; i < 14; i++) {
      const loss = await step();
      expect(Math.abs(loss - want.numbers("losses")[i]!)).toBeLessThan(1e-4);
      expect(budget.budget).toBe(want.numbers("budgets")[i]);
      const { up, down } = await budget.kept();
      const masks = want.numbers("masks").slice(8 * i, 8 * i + 8);
      expect([...up!, ...down!]).toEqual(masks.map((m) => m === 1));
    }
    const before = await read(net.forward(base.tensor("ids")));
    const compact = await budget.compact();
    await expectNear(net.forward(base.tensor("ids")), before, 1e-6, "compacted");
    const files = await peftFiles(compact);
    compact.detach();
    const ours = JSON.parse(new TextDecoder().decode(files.get("adapter_config.json")));
    expect(ours.rank_pattern).toEqual({
      "up.lora_E": [false, false, false, true],
      "down.lora_E": [true, true, false, true],
    });
    const theirs = await loadPeft(net, at("adalora/end"), { adapters });
    for (const [i, { entry }] of theirs.places.entries()) {
      for (const [field, p] of Object.entries(entry.params))
        await expectNear(compact.places[i]!.entry.params[field]!, await read(p), 1e-4, field);
    }
  });

  test("a run that is resumed from its state ends with the same bits", async () => {
    const base = await readGoldens(at("methods/base.safetensors"));
    const whole = await start(base);
    for (let i = 0; i < 14; i++) await whole.step();
    for (const cut of [3, 7, 12]) {
      const first = await start(base);
      for (let i = 0; i < cut; i++) await first.step();
      const second = await start(base);
      const { step, tensors } = first.budget.state();
      const saved = new Map<string, Tensor>();
      for (const [name, t] of tensors) saved.set(name, t);
      second.budget.loadState({ step, tensors: saved });
      const values = [...first.adapted.parameters()].map(([, p]) => p);
      for (const [i, [, p]] of [...second.adapted.parameters()].entries()) p.replace(values[i]!);
      for (let i = cut; i < 14; i++) await second.step();
      expect(await second.budget.kept()).toEqual(await whole.budget.kept());
      const ends = [...whole.adapted.parameters()].map(([, p]) => p);
      for (const [i, [, p]] of [...second.adapted.parameters()].entries())
        expect(await read(p)).toEqual(await read(ends[i]!));
    }
  });
});

describe("on a target of known rank", () => {
  // W of layer "0" has to change by rank 3, that of layer "1" by none.
  const config: AdaLoraConfig = { rank: 4, targetRank: 2, steps: 120, tinit: 20, tfinal: 40, penalty: 0.1 };

  test("the triplets go to the layer that needs them, and not more are left than the budget has", async () => {
    const make = (): Sequential =>
      new Sequential(
        new Linear(12, 10, { key: key(1) }),
        new Linear(10, 8, { key: key(2) }),
      ).eval() as Sequential;
    const [model, teacher] = [make(), make()];
    const change = attach(teacher, lora, { rank: 3 }, { targets: ["0"] });
    for (const { entry } of change.places) {
      entry.params["A"]!.replace(normal([3, 12], { key: key(3), std: 0.5 }));
      entry.params["B"]!.replace(normal([10, 3], { key: key(4), std: 0.5 }));
    }
    // Between the layers the loss sees what the first has made.
    const x = normal([64, 12], { key: key(5) });
    const outputs = (of: Sequential): Tensor[] => {
      const [first, second] = [...of.namedModules()]
        .filter(([, m]) => m instanceof Linear)
        .map(([, m]) => m as Linear);
      const h = first!.forward(x);
      return [h, second!.forward(h)];
    };
    const wanted = outputs(teacher);
    const adapted = attach(model, adaLora, config, { targets: ["0", "1"], key: key(6) });
    const budget = adaLoraBudget(
      adapted,
      new AdamW(model.trainableParameters(), { lr: 0.02, weightDecay: 0 }),
    );
    const loss = (): Tensor =>
      outputs(model)
        .map((y, i) => mse(y, wanted[i]!))
        .reduce((a, b) => a.add(b));
    const grads = valueAndGrad(model, () => regularized(model, loss));
    const first = await loss().item();
    for (let i = 0; i < 120; i++) await budget.step(grads().grads);
    expect(await loss().item()).toBeLessThan(first / 20);
    const kept = await budget.kept();
    const counts = ["0", "1"].map((path) => kept[path]!.filter(Boolean).length);
    expect(counts[0]! + counts[1]!).toBeLessThanOrEqual(4);
    expect(counts[0]).toBeGreaterThanOrEqual(3);
    const compact = await budget.compact();
    expect(compact.places.map(({ entry }) => entry.params["E"]!.size)).toEqual(counts);
    expect(compact.report().trainable).toBe(counts[0]! * 23 + counts[1]! * 19);
  });
});

describe("refused are", () => {
  const put = (adapter: Adapter, config: object): Attached =>
    attach(new Sequential(new Linear(6, 5, { key: key(1) })), adapter, config, { targets: ["0"] });
  const optimizer = (adapted: Attached): AdamW => new AdamW(adapted.model.trainableParameters(), { lr: 0.1 });
  const budget = (adapter: Adapter, config: object) => () => {
    const adapted = put(adapter, config);
    return adaLoraBudget(adapted, optimizer(adapted));
  };
  const own = adapters[0]!;

  test("other adapters", () =>
    expect(budget(lora as unknown as Adapter, { rank: 2 })).toThrow(/an adapter of adaLora, got lora/));
  test("a target above what there is", () =>
    expect(budget(own, { rank: 2, targetRank: 3, steps: 9 })).toThrow(
      /a targetRank for at most 2 triplets, got 3/,
    ));
  test("a schedule whose only masking comes before any importance", () =>
    expect(budget(own, { rank: 2, steps: 3, tfinal: 2 })).toThrow(/updates before the last masking/));
  test("gradients without one of the adapter's", async () => {
    await expect(budget(own, { rank: 2, steps: 9 })().step(new Map())).rejects.toThrow(
      /a gradient of 0\.lora_A/,
    );
  });
});
