import { expect, test } from "vitest";
import { listingJson, parseListing } from "../../src/hub-listing.js";
import { encodeManifest, parseManifest } from "../../src/manifest.js";
import { listingOf } from "../fake-hub.js";
import { mutateBytes } from "../safetensors-mutator.js";
import { encodeTree, mutateTree, treeOf } from "./json-tree.js";
import { upTo } from "./random.js";
import { runMutants } from "./run-mutants.js";

const files = new Map(
  ["config.json", "model.safetensors", "1_Pooling/config.json"].map((name, i) => [name, new Uint8Array(i)]),
);

function bent(json: object, random: () => number): { input: Uint8Array; sizeBytes: number } {
  const tree = treeOf(json);
  for (let n = upTo(random, 3); n > 0; n--) mutateTree(tree, random);
  const bytes = encodeTree(tree);
  const input = random() < 0.1 ? mutateBytes(bytes, random) : bytes;
  return { input, sizeBytes: input.length };
}

const where = "mutant";

test("10,000 bent listings of a repository are each refused or kept as they are, and no name leaves its folder", async () => {
  await runMutants({
    seed: 6,
    leastRules: 10,
    make: (random) => bent(listingOf(files), random),
    async parse(input) {
      const listing = parseListing(input, "owner/name", where);
      for (const path of listing.files.keys()) {
        expect(path.split("/").some((part) => part === "" || part === "." || part === "..")).toBe(false);
        expect(path).not.toMatch(/[\\:\0]/);
      }
      const again = parseListing(new TextEncoder().encode(listingJson(listing)), "owner/name", where);
      expect(again).toEqual(listing);
    },
  });
});

test("10,000 bent manifests are each refused or what was written", async () => {
  const { text, manifest } = encodeManifest([{ name: "a.json", size: 3, sha256: "0".repeat(64) }], {
    step: 7,
  });
  await runMutants({
    seed: 7,
    leastRules: 1,
    make: (random) => bent(JSON.parse(text) as object, random),
    async parse(input) {
      const pieces = (async function* () {
        yield input;
      })();
      // Its own SHA-256 covers every member: one that is accepted says what was written.
      expect(await parseManifest(pieces, where)).toEqual(manifest);
    },
  });
});
