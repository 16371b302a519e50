import { Embedding, Linear, Module } from "@lowrank/nn";
import { evaluate, key, normal, setDefaultBackend } from "@lowrank/tensor";
import { beforeAll, expect, test } from "vitest";
import { encodeTree, mutateTree, treeOf } from "../../models/test/mutants/json-tree.js";
import { pick, upTo } from "../../models/test/mutants/random.js";
import { runMutants } from "../../models/test/mutants/run-mutants.js";
import { mutateBytes } from "../../models/test/safetensors-mutator.js";
import { attach } from "../src/attach.js";
import { lora } from "../src/lora.js";
import { loadPeft, peftFiles } from "../src/peft.js";
import { testBackend } from "./backend.js";

beforeAll(async () => {
  setDefaultBackend(await testBackend());
});

class Net extends Module {
  embed = new Embedding(7, 6, { key: key(1) });
  layers = [new Linear(6, 6, { key: key(2) }), new Linear(6, 5, { key: key(3) })];
}

const CONFIG = "adapter_config.json";
const WEIGHTS = "adapter_model.safetensors";

/** Adapter folders of several selections of layers. */
async function folders(): Promise<Map<string, Uint8Array>[]> {
  const selections = [
    { targets: ["embed", "0", "1"] },
    { targets: "all-linear" },
    { targets: ".*[01]", rankPattern: { "layers.0": 1 }, alphaPattern: { "^layers\\.1": 8 } },
    { targets: ["0", "1"], exclude: ["0"] },
  ];
  const made: Map<string, Uint8Array>[] = [];
  for (const selection of selections) {
    const net = new Net().eval() as Net;
    const attached = attach(net, lora, { rank: 2, alpha: 3 }, selection);
    await evaluate(
      ...[...attached.parameters()].map(([path, p]) =>
        p.assign(normal(p.shape, { key: key(3).foldName(path) })),
      ),
    );
    made.push(await peftFiles(attached, { baseModel: "some/base" }));
  }
  return made;
}

test("10,000 bent adapter folders are each refused, the model untouched, or written back as they were", async () => {
  const valid = await folders();
  const jsons = valid.map((files) => JSON.parse(new TextDecoder().decode(files.get(CONFIG))) as object);
  await runMutants({
    seed: 12,
    leastRules: 15,
    make(random) {
      const which = upTo(random, valid.length);
      const tree = treeOf(jsons[which]);
      for (let n = upTo(random, 3); n > 0; n--) mutateTree(tree, random);
      let config = encodeTree(tree);
      let weights = valid[which]!.get(WEIGHTS)!;
      if (random() < 0.05) config = mutateBytes(config, random);
      // At times the weights of another selection, or bent ones.
      if (random() < 0.05) weights = pick(random, valid).get(WEIGHTS)!;
      if (random() < 0.1) weights = mutateBytes(weights, random);
      const input = new Map([
        [CONFIG, config],
        [WEIGHTS, weights],
      ]);
      return { input, sizeBytes: config.length + weights.length };
    },
    async parse(input) {
      const net = new Net().eval() as Net;
      const before = [...net.state().keys()];
      let attached: Awaited<ReturnType<typeof loadPeft<Net>>>;
      try {
        attached = await loadPeft(net, input);
      } catch (error) {
        expect([...net.state().keys()]).toEqual(before);
        throw error;
      }
      const written = await peftFiles(attached, { baseModel: "some/base" });
      const again = await loadPeft(new Net().eval() as Net, written);
      expect(await peftFiles(again, { baseModel: "some/base" })).toEqual(written);
    },
  });
});
