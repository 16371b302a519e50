import { expect, test } from "vitest";
import { openCheckpoint, openSafetensors } from "../../src/safetensors.js";
import { encodeSafetensors, type TensorToWrite } from "../../src/safetensors-write.js";
import { describeValid, encode, mutate, mutateBytes } from "../safetensors-mutator.js";
import { encodeTree, mutateTree, treeOf } from "./json-tree.js";
import { pick, upTo } from "./random.js";
import { runMutants } from "./run-mutants.js";

/** A file, bent up to twice in its structure and at times in its bytes. */
function bentFile(random: () => number, often = 1): Uint8Array {
  const description = describeValid(random);
  for (let n = random() < often ? upTo(random, 3) : 0; n > 0; n--) mutate(description, random);
  const bytes = encode(description);
  return random() < 0.3 * often ? mutateBytes(bytes, random) : bytes;
}

test("10,000 bent safetensors files are each refused or written back byte by byte", async () => {
  await runMutants({
    seed: 4,
    leastRules: 25,
    make(random) {
      const input = bentFile(random);
      return { input, sizeBytes: input.length };
    },
    async parse(input) {
      const opened = await openSafetensors(input);
      const tensors = new Map<string, TensorToWrite>();
      for (const [key, { dtype, shape, bytes }] of opened.tensors)
        tensors.set(key, { dtype, shape, data: bytes });
      expect(await encodeSafetensors(tensors, { like: opened })).toEqual(input);
    },
  });
});

test("10,000 bent shard indexes and shards are each refused or read as their shards are", async () => {
  await runMutants({
    seed: 5,
    leastRules: 20,
    make(random) {
      const files: Record<string, Uint8Array> = {};
      const map: Record<string, string> = {};
      for (let i = 0; i < 1 + upTo(random, 3); i++) {
        const description = describeValid(random);
        const name = `model-0000${i + 1}.safetensors`;
        for (const member of description.members) {
          member.name = JSON.stringify(`${i}.${JSON.parse(member.name)}`);
          map[JSON.parse(member.name)] = name;
        }
        if (random() < 0.1) mutate(description, random);
        files[name] = encode(description);
      }
      const index = treeOf({ metadata: { total_size: 8 }, weight_map: map });
      for (let n = upTo(random, 3); n > 0; n--) mutateTree(index, random);
      let bytes = encodeTree(index);
      if (random() < 0.1) bytes = mutateBytes(bytes, random);
      if (random() < 0.05) delete files[pick(random, Object.keys(files))];
      files["model.safetensors.index.json"] = bytes;
      const sizeBytes = Object.values(files).reduce((sum, file) => sum + file.length, 0);
      return { input: files, sizeBytes };
    },
    async parse(files) {
      const archive = await openCheckpoint(files);
      // Every tensor of every shard, and no other, with the bytes of its shard.
      const seen = new Map<string, Uint8Array>();
      const used = new Set(
        Object.values(
          JSON.parse(new TextDecoder().decode(files["model.safetensors.index.json"])).weight_map as object,
        ),
      );
      for (const shard of used as Set<string>) {
        const opened = await openSafetensors(files[shard]!);
        for (const [name, entry] of opened.tensors) seen.set(name, await entry.bytes());
      }
      expect(archive.tensors.size).toBe(seen.size);
      for (const [name, entry] of archive.tensors) expect(await entry.bytes()).toEqual(seen.get(name));
      await archive.close();
    },
  });
});
