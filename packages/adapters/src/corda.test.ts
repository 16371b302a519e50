import { singularValues, svd } from "@lowrank/linalg";
import { Linear, Sequential } from "@lowrank/nn";
import { eye, key, matmul, normal, setDefaultBackend, type Tensor } from "@lowrank/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import { expectNear, readGoldens } from "../../models/test/golden-files.js";
import { testBackend } from "../test/backend.js";
import { close, randomised, read } from "../test/layers.js";
import { golden, Net } from "../test/methods.js";
import { attach } from "./attach.js";
import { attachUpdates } from "./compose/attach-updates.js";
import { loraUpdates } from "./compose/updates.js";
import { attachCorda, corda, type CordaConfig } from "./corda.js";
import { secondMoments } from "./layer-inputs.js";
import { loadPeft, peftFiles } from "./peft.js";
import { pissa, type ResidualLoraParams } from "./residual-lora.js";
import { contractChecks } from "./testing.js";

beforeAll(async () => setDefaultBackend(await testBackend()));

for (const check of contractChecks(
  corda,
  { rank: 3, alpha: 6 },
  {
    // r (in + out)
    count: ({ inFeatures, outFeatures }) => 3 * (inFeatures + outFeatures),
  },
))
  test(check.name, check.run);

describe.each([
  ["ipm", "instruction"],
  ["kpm", "knowledge"],
] as const)("against PEFT, %s", (theirs, mode) => {
  test("the update and the rest of the weight are the same", async () => {
    const base = await readGoldens(golden("methods/base.safetensors"));
    const want = await readGoldens(golden("starts/corda.safetensors"));
    const net = new Net();
    for (const [path, p] of net.parameters()) p.replace(base.tensor(path));
    const targets = ["up", "down"];
    const calibration = {
      batches: [want.tensor("ids").astype("i32")],
      forward: (ids: Tensor) => net.forward(ids),
    };
    const moments = await secondMoments(net, calibration, { targets });
    const adapted = await attachCorda(net, moments, { rank: 3, alpha: 5, mode }, { targets });
    for (const { stack, entry } of adapted.places) {
      const { A0, B0 } = entry.params as unknown as ResidualLoraParams;
      const update = matmul(B0, A0).mul(5 / 3);
      await expectNear(update, want.numbers(`${theirs}.${entry.target.path}.update`), 1e-4, "update");
      const rest = stack.layer.denseWeight().sub(update);
      await expectNear(rest, want.numbers(`${theirs}.${entry.target.path}.rest`), 1e-4, "rest");
    }
  });
});

const model = (): Sequential => new Sequential(new Linear(9, 6, { key: key(1) })).eval() as Sequential;
const X = matmul(normal([40, 9], { key: key(2) }), normal([9, 9], { key: key(3) }));
const moment = matmul(X.T, X).div(40);
const moments = new Map([["0", { moment, tokens: 40 }]]);
const start = async (config: Partial<CordaConfig> = {}) => {
  const net = model();
  const adapted = await attachCorda(
    net,
    moments,
    { rank: 2, alpha: 6, damping: 0, ...config },
    { targets: ["0"] },
  );
  const params = adapted.places[0]!.entry.params as unknown as ResidualLoraParams;
  return { net, adapted, W: (net.at("0") as Linear).weight, ...params };
};

describe("corda", () => {
  test("the update is what the trained components of W C take out of W: s B₀ A₀ = U Uᵀ W", async () => {
    const { W, A0, B0 } = await start();
    const { u } = svd(matmul(W, moment));
    const U = u.slice([null, [0, 2]]);
    close(await read(matmul(B0, A0).mul(3)), await read(matmul(U, matmul(U.T, W))), 1e-5);
  });

  test("the rest of W on C has the other singular values: instruction leaves the small ones, knowledge the large ones", async () => {
    const unit = moment.div(moment.mul(eye(9)).sum().div(9));
    for (const mode of ["instruction", "knowledge"] as const) {
      const { W, A0, B0 } = await start({ mode });
      const values = await read(singularValues(matmul(W, unit)));
      const rest = await read(singularValues(matmul(W.sub(matmul(B0, A0).mul(3)), unit)));
      const left = mode === "instruction" ? values.slice(2) : values.slice(0, 4);
      close(rest, [...left, 0, 0], 1e-5);
    }
  });

  test("with white inputs it is PiSSA", async () => {
    const net = model();
    const white = new Map([["0", { moment: eye(9).mul(7), tokens: 1 }]]);
    const adapted = await attachCorda(net, white, { rank: 2, alpha: 6, damping: 0 }, { targets: ["0"] });
    const other = attach(model(), pissa, { rank: 2, alpha: 6 }, { targets: ["0"] });
    const products = [adapted, other].map(({ places }) => {
      const { A, B } = places[0]!.entry.params as unknown as ResidualLoraParams;
      return [matmul(B, A), matmul(A, A.T), matmul(B.T, B)] as const;
    });
    for (const i of [0, 1, 2] as const) close(await read(products[0]![i]), await read(products[1]![i]), 1e-5);
  });

  test("the scale of the data is in neither factor", async () => {
    const one = await start();
    const many = new Map([["0", { moment: moment.mul(1e4), tokens: 40 }]]);
    const net = model();
    const adapted = await attachCorda(net, many, { rank: 2, alpha: 6, damping: 0 }, { targets: ["0"] });
    const { A, B } = adapted.places[0]!.entry.params as unknown as ResidualLoraParams;
    close(await read(A.abs()), await read(one.A.abs()), 1e-4);
    close(await read(B.abs()), await read(one.B.abs()), 1e-4);
  });

  test("a fresh start is the layer as it was, bit for bit", async () => {
    const { net, adapted } = await start();
    const x = normal([4, 9], { key: key(4) });
    const started = await read(net.forward(x));
    adapted.disable();
    expect(started).toEqual(await read(net.forward(x)));
  });

  test("forward is the merged weight after training, from its file too, and as a LoRA of twice the rank for PEFT", async () => {
    const { net, adapted } = await start();
    const x = normal([4, 9], { key: key(4) });
    await randomised(adapted, 5);
    const apart = await read(net.forward(x));
    await adapted.merge();
    close(await read(net.forward(x)), apart, 1e-5);
    adapted.unmerge();
    const updates = loraUpdates(adapted);
    const files = await peftFiles(adapted);
    const plain = await attachUpdates(model(), updates);
    expect(plain.places[0]!.entry.config).toMatchObject({ rank: 4 });
    close(await read(plain.model.forward(x)), apart, 1e-5);
    const again = model();
    await loadPeft(again, files, { adapters: [corda as never] });
    expect(await read(again.forward(x))).toEqual(apart);
  });

  test("a layer without a moment is refused, and nothing is attached", async () => {
    const net = model();
    await expect(attachCorda(net, new Map(), { rank: 2 }, { targets: ["0"] })).rejects.toThrow(
      /moments of all layers, got none of 0/,
    );
    expect((net.at("0") as Linear)._overlay).toBeNull();
  });
});
