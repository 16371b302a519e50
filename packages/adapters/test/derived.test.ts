import { fileURLToPath } from "node:url";
import {
  type Adapter,
  attach,
  autoLora,
  capaBoost,
  dyLora,
  edora,
  fedPara,
  flix,
  lora,
  sira,
  soda,
} from "@lowrank/adapters";
import { Conv2d, Linear, Sequential } from "@lowrank/nn";
import { setDefaultBackend } from "@lowrank/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import { expectNear, readGoldens } from "../../models/test/golden-files.js";
import { testBackend } from "./backend.js";

beforeAll(async () => setDefaultBackend(await testBackend()));

const of = <C extends object, P extends object>(adapter: Adapter<C, P>, config: C): [Adapter, object] => [
  adapter as unknown as Adapter,
  config,
];

const cases: Readonly<Record<string, [Adapter, object]>> = {
  edora: of(edora, { rank: 3, alpha: 6 }),
  soda: of(soda, {}),
  "soda-lq": of(soda, { form: "lq" }),
  fedpara: of(fedPara, { rank: 2 }),
  "fedpara-personal": of(fedPara, { rank: 2, personal: true }),
  "fedpara-tanh": of(fedPara, { rank: 2, tanh: true }),
  "fedpara-conv": of(fedPara, { rank: 2 }),
  "fedpara-conv-personal": of(fedPara, { rank: 2, personal: true }),
  "fedpara-conv-tanh": of(fedPara, { rank: 2, tanh: true }),
  capaboost: of(capaBoost(lora, ["A", "B"]), { rank: 2, alpha: 3, copies: 3 }),
  autolora: of(autoLora, { rank: 3, alpha: 6 }),
  sira: of(sira, { experts: 5, topK: 2, rank: 2, alpha: 3 }),
  "sira-capacity": of(sira, { experts: 5, topK: 2, rank: 2, alpha: 3, evaluationCapacity: 1 }),
  dylora: of(dyLora, { rank: 4, alpha: 6, active: 3 }),
  flix: of(flix, { features: ["sw", "bn", "qa"], rank: 2, alpha: 3, active: ["qa", "sw"] }),
};

describe.each(Object.entries(cases))("%s, against its equation in numpy", (name, [adapter, config]) => {
  test("results agree apart and, where it can be merged, merged", async () => {
    const path = fileURLToPath(new URL(`./goldens/derived/${name}.safetensors`, import.meta.url));
    const golden = await readGoldens(path);
    const layer = name.includes("-conv")
      ? new Conv2d(2, 6, [3, 2], { stride: [2, 1], padding: [1, 0] })
      : new Linear(12, 6);
    layer.weight.replace(golden.tensor("W"));
    layer.bias!.replace(golden.tensor("b"));
    const model = new Sequential(layer).eval() as Sequential;
    const adapted = attach(model, adapter, config, { targets: ["0"] });
    const given = new Set(golden.names.filter((n) => !["W", "b", "x", "y"].includes(n)));
    for (const { entry } of adapted.places) {
      for (const [field, p] of Object.entries(entry.params))
        if (given.delete(field)) p.replace(golden.tensor(field));
    }
    expect([...given]).toEqual([]);
    await expectNear(model.forward(golden.tensor("x")), golden.numbers("y"), 1e-5, "apart");
    if (adapter.staysApart?.(config) !== undefined) return;
    await adapted.merge();
    await expectNear(model.forward(golden.tensor("x")), golden.numbers("y"), 1e-5, "merged");
  });
});
