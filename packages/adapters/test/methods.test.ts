import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { attach, type Attached, loadPeft, peftFiles } from "@lowrank/adapters";
import { mse, valueAndGrad } from "@lowrank/nn";
import { SGD } from "@lowrank/optim";
import { type Parameter, setDefaultBackend } from "@lowrank/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import { expectNear, type Goldens, readGoldens } from "../../models/test/golden-files.js";
import { testBackend } from "./backend.js";
import { type ConvNet, methods, type Net, networkOf } from "./methods.js";

const at = (path: string): string => fileURLToPath(new URL(`./goldens/methods/${path}`, import.meta.url));
beforeAll(async () => setDefaultBackend(await testBackend()));

/** PEFT's file name of a parameter. */
const key = (path: string): string => {
  const shared = /\.(vera_[AB])\.default$/.exec(path);
  return shared ? `base_model.${shared[1]}` : `base_model.model.${path.replace(".default", "")}`;
};

/** What PEFT computes wrong before it has merged: its forward adds up overlapping patches. */
const MERGED_ONLY = ["conv-oft"];

describe.each(Object.entries(methods))("%s, against PEFT", (name, { adapter }) => {
  let base: Goldens;
  beforeAll(async () => {
    base = await readGoldens(at(networkOf(name).base));
  });

  function network(): Net | ConvNet {
    const { net } = networkOf(name);
    for (const [path, p] of net.parameters()) p.replace(base.tensor(path));
    return net.eval() as Net | ConvNet;
  }

  /** What a file has of an adapter's parameters. */
  const stored = (adapted: Attached): Map<string, Parameter> =>
    new Map(
      [...adapted.parameters()]
        .filter(([path]) => !adapter.derived?.some((field) => path.includes(`_${field}.`)))
        .map(([path, p]) => [key(path), p]),
    );

  const load = async (folder: string) => {
    const net = network();
    return { net, adapted: await loadPeft(net, at(folder), { adapters: [adapter], trainable: true }) };
  };

  test("an adapter that PEFT saved gives PEFT's result, apart and merged", async () => {
    const want = await readGoldens(at(`${name}/expected.safetensors`));
    const { net, adapted } = await load(name);
    await expectNear(net.forward(base.tensor("ids")), want.numbers("y"), 1e-5, "apart");
    await adapted.merge();
    await expectNear(net.forward(base.tensor("ids")), want.numbers("merged"), 1e-5, "merged");
  });

  const withSteps = !MERGED_ONLY.includes(name);
  if (withSteps)
    test("two steps of SGD give the same parameters", async () => {
      const want = await readGoldens(at(`${name}/expected.safetensors`));
      const { net, adapted } = await load(name);
      const optimizer = new SGD(net.trainableParameters(), { lr: 0.1 });
      const step = valueAndGrad(net, () => mse(net.forward(base.tensor("ids")), base.tensor("t")));
      for (let i = 0; i < 2; i++) await optimizer.step(step().grads);
      const own = stored(adapted);
      expect(want.names.filter((n) => n.startsWith("sgd.")).sort()).toEqual(
        [...own.keys()].map((n) => `sgd.${n}`).sort(),
      );
      for (const [path, p] of own) await expectNear(p, want.numbers(`sgd.${path}`), 1e-4, path);
    });

  test("its file is saved again with PEFT's fields and tensors", async () => {
    const { adapted } = await load(name);
    const files = await peftFiles(adapted);
    const theirs = JSON.parse(await readFile(at(`${name}/adapter_config.json`), "utf8"));
    const ours = JSON.parse(new TextDecoder().decode(files.get("adapter_config.json")));
    theirs.target_modules.sort();
    ours.target_modules.sort();
    for (const [field, value] of Object.entries(adapter.format!.toJson(adapted.config))) {
      expect([field, value]).toEqual([field, theirs[field]]);
    }
    for (const field of ["peft_type", "target_modules"]) expect(ours[field]).toEqual(theirs[field]);
    const tensors = await readGoldens(at(`${name}/adapter_model.safetensors`));
    const own = stored(adapted);
    expect([...own.keys()].sort()).toEqual([...tensors.names].sort());
    for (const [path, p] of own) expect(Array.from(await p.data())).toEqual(tensors.numbers(path));
  });

  test("an adapter that we saved gives in PEFT what it gives here", async () => {
    const want = await readGoldens(at(`${name}/ours/peft.safetensors`));
    const { net } = await load(`${name}/ours`);
    await expectNear(net.forward(base.tensor("ids")), want.numbers("y"), 1e-5, "ours in PEFT");
  });

  test("the folder of ours is what its configuration gives", async () => {
    const { config, targets } = methods[name]!;
    const { adapted } = await load(`${name}/ours`);
    const own = attach(network(), adapter, config, { targets });
    const shapes = (of: Iterable<[string, { shape: readonly number[] }]>): string[] =>
      [...of].map(([path, p]) => `${path} ${p.shape}`);
    expect(shapes(adapted.parameters())).toEqual(shapes(own.parameters()));
    expect(adapter.format!.toJson(adapted.config)).toEqual(adapter.format!.toJson(config));
  });
});
