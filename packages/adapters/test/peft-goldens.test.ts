import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { attach, loadPeft, lora, peftFiles } from "@lowrank/adapters";
import { type CausalLM, fromPretrained } from "@lowrank/models";
import { valueAndGrad } from "@lowrank/nn";
import { AdamW, clipByGlobalNorm, SGD } from "@lowrank/optim";
import { evaluate, setDefaultBackend, type Tensor } from "@lowrank/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import { expectNear, type Goldens, readGoldens } from "../../models/test/golden-files.js";
import { testBackend } from "./backend.js";

beforeAll(async () => setDefaultBackend(await testBackend()));

const own = (path: string): string => fileURLToPath(new URL(`./goldens/${path}`, import.meta.url));
const BASE = fileURLToPath(new URL("../../models/test/goldens/llama-untied", import.meta.url));

// rslora has patterns of rank and alpha besides; full trains the head and the last norm in full.
describe.each(["lora", "rslora", "full"])("%s, against PyTorch and PEFT", (name) => {
  const load = async () => {
    const batch = await readGoldens(`${BASE}/expected.safetensors`);
    const want = await readGoldens(own(`${name}/expected.safetensors`));
    const model = await fromPretrained(BASE);
    const adapted = await loadPeft(model, own(name), { trainable: true });
    const step = valueAndGrad(model, () => model.loss(batch.tensor("input_ids"), batch.tensor("labels")));
    return { want, model, adapted, step, ids: batch.tensor("input_ids") };
  };

  /** The second row is padded from its ninth token on, and those logits mean nothing. */
  async function expectLogits(model: CausalLM, ids: Tensor, want: number[], what: string): Promise<void> {
    const logits = model.forward(ids);
    await expectNear(logits.slice([0, null, null]), want.slice(0, 12 * 64), 1e-4, `${what}, first row`);
    await expectNear(
      logits.slice([1, [0, 9], null]),
      want.slice(12 * 64, 21 * 64),
      1e-4,
      `${what}, second row`,
    );
  }

  /** PEFT's file name of a parameter. */
  const key = (path: string): string => `base_model.model.${path.replace(".default.", ".")}`;

  async function expectParameters(
    adapted: Iterable<[string, Tensor]>,
    want: Goldens,
    prefix: string,
  ): Promise<void> {
    let count = 0;
    for (const [path, p] of adapted) {
      await expectNear(p, want.numbers(`${prefix}.${key(path)}`), 1e-4, `${prefix} ${path}`);
      count++;
    }
    expect(count).toBe(want.names.filter((n) => n.startsWith(`${prefix}.`)).length);
  }

  test("an adapter that PEFT saved gives PEFT's logits, apart and merged", async () => {
    const { model, adapted, ids, want } = await load();
    await expectLogits(model, ids, want.numbers("logits"), "apart");
    await adapted.merge();
    await expectLogits(model, ids, want.numbers("merged_logits"), "merged");
  });

  test("loss and gradients agree to 1e-4", async () => {
    const { step, want } = await load();
    const { value, grads } = step();
    await evaluate(value, ...grads.values());
    await expectNear(value, want.numbers("loss"), 1e-5, "loss");
    await expectParameters(grads, want, "grad");
  });

  test("a step of SGD gives the same parameters", async () => {
    const { model, adapted, step, want } = await load();
    await new SGD(model.trainableParameters(), { lr: 0.1 }).step(step().grads);
    await expectParameters(adapted.parameters(), want, "sgd");
  });

  test("three steps of AdamW with clipped gradients give the same parameters, losses and norms", async () => {
    const { model, adapted, step, want } = await load();
    const optimizer = new AdamW(model.trainableParameters(), { lr: 1e-2, weightDecay: 0.01 });
    for (let i = 0; i < 3; i++) {
      const { value, grads } = step();
      const { grads: clipped, norm } = clipByGlobalNorm(grads, 1);
      await optimizer.step(clipped, { also: [value, norm] });
      await expectNear(value, [want.numbers("adamw_losses")[i]!], 1e-4, `loss ${i}`);
      await expectNear(norm, [want.numbers("grad_norms")[i]!], 1e-4, `norm ${i}`);
    }
    await expectParameters(adapted.parameters(), want, "adamw");
  });

  test("what we save has PEFT's keys and loads again to the same logits", async () => {
    const { model, adapted, ids } = await load();
    const before = await model.forward(ids).data();
    const files = await peftFiles(adapted, { baseModel: "llama-untied" });
    const theirs = JSON.parse(await readFile(own(`${name}/adapter_config.json`), "utf8"));
    const ours = JSON.parse(new TextDecoder().decode(files.get("adapter_config.json")));
    for (const [field, value] of Object.entries(ours)) expect([field, value]).toEqual([field, theirs[field]]);
    expect(Object.keys(ours)).toEqual(Object.keys(ours).sort());
    adapted.detach();
    await loadPeft(model, files);
    expect(await model.forward(ids).data()).toEqual(before);
  });
});

test("an adapter that we saved gives in PEFT the logits that it gives here, and is saved again byte by byte", async () => {
  const batch = await readGoldens(`${BASE}/expected.safetensors`);
  const want = (await readGoldens(own("ours/peft_logits.safetensors"))).numbers("logits");
  const model = await fromPretrained(BASE);
  const adapted = await loadPeft(model, own("ours"));
  const logits = model.forward(batch.tensor("input_ids"));
  await expectNear(logits.slice([0, null, null]), want.slice(0, 12 * 64), 1e-4, "first row");
  for (const [file, bytes] of await peftFiles(adapted, { baseModel: "llama-untied" })) {
    expect(Buffer.from(bytes).equals(await readFile(own(`ours/${file}`))), file).toBe(true);
  }
});

test("an adapter for another base is refused with the names of its tensors, and the model stays bare", async () => {
  const model = await fromPretrained(BASE);
  const narrow = attach(model, lora, { rank: 3 }, { targets: ["q_proj", "v_proj", "down_proj"] });
  const files = await peftFiles(narrow);
  narrow.detach();
  const config = JSON.parse(new TextDecoder().decode(files.get("adapter_config.json")));
  files.set(
    "adapter_config.json",
    new TextEncoder().encode(JSON.stringify({ ...config, r: 4, base_model_name_or_path: "x/y" })),
  );
  await expect(loadPeft(model, files)).rejects.toThrow(
    /12 of another shape \(base_model\.model\.model\.layers\.0\.self_attn\.q_proj\.lora_A\.weight \[3, 32\] instead of \[4, 32\].*another base: "x\/y"/,
  );
  files.set(
    "adapter_config.json",
    new TextEncoder().encode(JSON.stringify({ ...config, target_modules: ["q_proj"] })),
  );
  await expect(loadPeft(model, files)).rejects.toThrow(/8 unexpected/);
  expect([...model.parameters()].every(([path, p]) => p.trainable && !path.includes("lora"))).toBe(true);
});
