import { expect, test } from "vitest";
import { mutateBytes } from "../safetensors-mutator.js";
import { scanJson, toPlain } from "../../src/json-scan.js";
import { encodeTree, hostile, mutateTree, type Tree, treeOf } from "./json-tree.js";
import { upTo } from "./random.js";
import { runMutants } from "./run-mutants.js";

function randomValue(random: () => number, depth = 0): Tree {
  const kind = upTo(random, depth > 3 ? 3 : 5);
  const list = (): Tree[] => Array.from({ length: upTo(random, 4) }, () => randomValue(random, depth + 1));
  if (kind === 3) return { items: list() };
  if (kind === 4) return { members: list().map((value, i) => [JSON.stringify(`key ${i}`), value]) };
  return treeOf([random() < 0.5 ? upTo(random, 1000) : random(), "text é 😀", null][kind]);
}

// What the scanner takes, JSON.parse takes too, and it means the same: it refuses more, and never reads otherwise.
test("10,000 bent texts are refused, or mean what JSON.parse says and no more", async () => {
  await runMutants({
    seed: 11,
    leastRules: 15,
    make(random) {
      const tree: Tree = { items: [randomValue(random)] };
      for (let n = upTo(random, 3); n > 0; n--) mutateTree(tree, random);
      if (random() < 0.05) tree.items.push(hostile(random));
      let input = encodeTree(tree);
      if (random() < 0.2) input = mutateBytes(input, random);
      return { input, sizeBytes: input.length };
    },
    async parse(input) {
      const value = toPlain(scanJson(input, { where: "mutant", numbers: "any" }));
      const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(input);
      expect(JSON.stringify(value)).toBe(JSON.stringify(JSON.parse(text)));
      // Written back and read again, it is the same.
      const again = toPlain(
        scanJson(new TextEncoder().encode(JSON.stringify(value)), { where: "again", numbers: "any" }),
      );
      expect(JSON.stringify(again)).toBe(JSON.stringify(value));
    },
  });
});
