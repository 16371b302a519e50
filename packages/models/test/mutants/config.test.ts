import { readdirSync, readFileSync } from "node:fs";
import { setDefaultBackend } from "@lowrank/tensor";
import { beforeAll, expect, test } from "vitest";
import { architectureOf, type ConfigJson } from "@lowrank/models";
import { readConfigJson } from "../../src/config.js";
import { openFolder } from "../../src/source.js";
import { testBackend } from "../backend.js";
import { mutateBytes } from "../safetensors-mutator.js";
import { encodeTree, mutateTree, treeOf } from "./json-tree.js";
import { pick, upTo } from "./random.js";
import { runMutants } from "./run-mutants.js";

beforeAll(async () => {
  setDefaultBackend(await testBackend());
});

const goldens = new URL("../goldens/", import.meta.url);
const configs = readdirSync(goldens)
  .map((name) => new URL(`${name}/config.json`, goldens))
  .flatMap((url) => {
    try {
      return [JSON.parse(readFileSync(url, "utf8")) as object];
    } catch {
      return []; // no folder of a model
    }
  });

/** What a model made from a configuration writes. */
function written(json: ConfigJson): unknown {
  const model = architectureOf(json).create(json, {});
  model.state();
  return JSON.parse(JSON.stringify(model.configJson("float32")));
}

test("10,000 bent configurations are each refused, or give a model whose own configuration gives it again", async () => {
  expect(configs.length).toBeGreaterThan(5);
  await runMutants({
    seed: 9,
    leastRules: 40,
    make(random) {
      const tree = treeOf(pick(random, configs));
      for (let n = upTo(random, 3); n > 0; n--) mutateTree(tree, random);
      let input = encodeTree(tree);
      if (random() < 0.05) input = mutateBytes(input, random);
      return { input, sizeBytes: input.length };
    },
    async parse(input) {
      const json = await readConfigJson(await openFolder({ "config.json": input }));
      const own = written(json);
      expect(written(own as ConfigJson)).toEqual(own);
    },
  });
});
