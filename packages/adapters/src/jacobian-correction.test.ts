import { fileURLToPath } from "node:url";
import { Conv2d, Linear, Module, mse, Sequential, valueAndGrad } from "@lowrank/nn";
import { SGD } from "@lowrank/optim";
import { evaluate, key, normal, setDefaultBackend, type Tensor, tanh, zeros } from "@lowrank/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import { expectNear, readGoldens } from "../../models/test/golden-files.js";
import { testBackend } from "../test/backend.js";
import { close, read } from "../test/layers.js";
import { attach } from "./attach.js";
import { fedPara, type FedParaConfig } from "./fed-para.js";
import { jacobianCorrected } from "./jacobian-correction.js";
import { lora } from "./lora.js";

beforeAll(async () => setDefaultBackend(await testBackend()));

class Net extends Module {
  conv = new Conv2d(2, 4, 3, { padding: 1 });
  head = new Linear(4 * 12, 3, { key: key(2), dtype: "f64" });
  forward(x: Tensor): Tensor {
    const y = tanh(this.conv.forward(x));
    return this.head.forward(y.reshape([y.shape[0]!, -1]));
  }
}

/** A convolution and a linear layer, both of factors, and data. */
function setUp(config: FedParaConfig) {
  const model = new Net();
  for (const layer of [model.conv, model.head])
    layer.weight.replace(zeros(layer.weight.shape, { dtype: layer.weight.dtype }));
  const [x, y] = [
    normal([5, 2, 3, 4], { key: key(3), dtype: "f64" }),
    normal([5, 3], { key: key(4), dtype: "f64" }),
  ];
  const adapted = attach(
    model,
    fedPara,
    { init: "he", ...config },
    { targets: ["conv", "head"], dtype: "f64" },
  );
  return { model, adapted, loss: (): Tensor => mse(model.forward(x), y) };
}

/** W of each layer's factors and bases together. */
const weights = async ({ adapted }: ReturnType<typeof setUp>): Promise<number[][]> =>
  Promise.all(adapted.places.map(({ stack }) => read(stack.effective().weight)));

const LR = 0.05;

describe.each<FedParaConfig>([{ rank: 3 }, { rank: 2, personal: true }, { rank: 2, tanh: true }])(
  "%j",
  (config) => {
    /** W after a step of SGD on the corrected gradients, from the same start each time. */
    async function stepped(strength: number): Promise<number[][]> {
      const s = setUp(config);
      const { grads } = jacobianCorrected(s.adapted, s.loss, { lr: LR, strength });
      await new SGD(s.model.trainableParameters(), { lr: LR }).step(grads);
      return weights(s);
    }

    /** W − η J, the step of the dense weights. */
    async function ideal(): Promise<number[][]> {
      const s = setUp(config);
      await s.adapted.mergeAndUnload();
      const dense = [s.model.conv, s.model.head];
      for (const { weight } of dense) weight.trainable = true;
      const { grads } = valueAndGrad(s.model, s.loss)();
      await new SGD(s.model.trainableParameters(), { lr: LR }).step(grads);
      return Promise.all(dense.map(({ weight }) => read(weight)));
    }

    const distance = (a: number[][], b: number[][]): number =>
      Math.sqrt(a.flat().reduce((sum, x, i) => sum + (x - b.flat()[i]!) ** 2, 0));

    test("a corrected step ends nearer to the step of the dense weight", async () => {
      const goal = await ideal();
      const [plain, corrected] = [await stepped(0), await stepped(0.1)];
      expect(distance(plain, goal)).toBeGreaterThan(0);
      expect(distance(corrected, goal)).toBeLessThan(distance(plain, goal));
    });
  },
);

test("corrected gradients agree with the equations in numpy", async () => {
  const path = fileURLToPath(
    new URL("../test/goldens/derived/fedpara-jacobian.safetensors", import.meta.url),
  );
  const golden = await readGoldens(path);
  const layer = new Linear(12, 6);
  layer.weight.replace(golden.tensor("W"));
  layer.bias!.replace(golden.tensor("b"));
  const model = new Sequential(layer);
  const adapted = attach(model, fedPara, { rank: 2 }, { targets: ["0"] });
  const { params } = adapted.places[0]!.entry;
  for (const [name, p] of Object.entries(params)) p.replace(golden.tensor(name));
  const loss = (): Tensor => mse(model.forward(golden.tensor("x")), golden.tensor("t"));
  const { grads } = jacobianCorrected(adapted, loss, { lr: 0.1, strength: 0.5 });
  for (const [at, p] of adapted.parameters()) {
    const name = Object.keys(params).find((field) => params[field] === p)!;
    await expectNear(grads.get(at)!, golden.numbers(`grad.${name}`), 1e-5, name);
  }
  expect(grads.size).toBe(4);
});

test("without strength the gradients are those of the loss, bit for bit", async () => {
  const s = setUp({ rank: 2 });
  const plain = valueAndGrad(s.model, s.loss)();
  const same = jacobianCorrected(s.adapted, s.loss, { lr: LR, strength: 0 });
  await evaluate(...plain.grads.values(), ...same.grads.values());
  for (const [path, g] of plain.grads) close(await read(same.grads.get(path)!), await read(g), 0);
});

test("another adapter, and one that is not alone on its layer, is refused", () => {
  const model = new Sequential(new Linear(4, 3));
  const low = attach(model, lora, { rank: 1 }, { targets: ["0"] });
  const options = { lr: 0.1 };
  const loss = (): Tensor => zeros([]);
  expect(() => jacobianCorrected(low, loss, options)).toThrow(
    /a fedPara adapter that is alone on its layers, got lora "default"/,
  );
  const fed = attach(model, fedPara, { rank: 1 }, { targets: ["0"], name: "fed" });
  expect(() => jacobianCorrected(fed, loss, options)).toThrow(/several adapters on a layer/);
});
