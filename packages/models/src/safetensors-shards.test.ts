import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { randomNumbers } from "../test/safetensors-mutator.js";
import { writeFolderAtomic } from "./atomic-write.js";
import { openCheckpoint, openSafetensors } from "./safetensors.js";
import { checkpointFiles } from "./safetensors-shards.js";
import type { TensorToWrite } from "./safetensors-write.js";

const folder = mkdtempSync(join(tmpdir(), "shards-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** Tensors of U8 by name and size, filled with their place from 1 on. */
const tensors = (sizes: readonly (readonly [string, number])[]): Map<string, TensorToWrite> =>
  new Map(
    sizes.map(([name, n], i) => [name, { dtype: "U8", shape: [n], data: new Uint8Array(n).fill(i + 1) }]),
  );

test("shards are no larger than asked but for a tensor that is, with an index as Transformers writes it", async () => {
  const path = join(folder, "some");
  const sizes = [
    ["b", 6],
    ["10", 4],
    ["big", 50],
    ["2", 3],
    ["__proto__", 7],
  ] as const;
  await writeFolderAtomic(path, checkpointFiles(tensors(sizes), { maxShardBytes: 10 }));
  expect(readdirSync(path).sort()).toEqual([
    "manifest.json",
    "model-00001-of-00003.safetensors",
    "model-00002-of-00003.safetensors",
    "model-00003-of-00003.safetensors",
    "model.safetensors.index.json",
  ]);
  expect(readFileSync(join(path, "model.safetensors.index.json"), "utf8")).toBe(`{
  "metadata": {
    "total_size": 70
  },
  "weight_map": {
    "10": "model-00001-of-00003.safetensors",
    "2": "model-00003-of-00003.safetensors",
    "__proto__": "model-00003-of-00003.safetensors",
    "b": "model-00001-of-00003.safetensors",
    "big": "model-00002-of-00003.safetensors"
  }
}
`);
  const archive = await openCheckpoint(path);
  for (const [i, [name, size]] of sizes.entries()) {
    expect(await archive.tensors.get(name)?.bytes()).toEqual(new Uint8Array(size).fill(i + 1));
  }
  await archive.close();
});

test("what fits into one file is one file", async () => {
  expect([...checkpointFiles(tensors([["a", 10]]), { maxShardBytes: 10 }).keys()]).toEqual([
    "model.safetensors",
  ]);
  expect([...checkpointFiles(new Map()).keys()]).toEqual(["model.safetensors"]);
  expect([
    ...checkpointFiles(
      tensors([
        ["a", 1],
        ["b", 1],
      ]),
      { maxShardBytes: 1, stem: "adapter_model" },
    ).keys(),
  ]).toEqual([
    "adapter_model-00001-of-00002.safetensors",
    "adapter_model-00002-of-00002.safetensors",
    "adapter_model.safetensors.index.json",
  ]);
});

test("any tensors come back whatever the size of a shard, and metadata stand in each", async () => {
  const random = randomNumbers(1);
  for (let round = 0; round < 30; round++) {
    const sizes = Array.from(
      { length: 1 + Math.floor(random() * 9) },
      (_, i) => [`t${i}`, Math.floor(random() * 40)] as const,
    );
    const maxShardBytes = 1 + Math.floor(random() * 60);
    const path = join(folder, `round-${round}`);
    await writeFolderAtomic(
      path,
      checkpointFiles(tensors(sizes), { maxShardBytes, metadata: { format: "pt" } }),
    );
    for (const name of readdirSync(path).filter((file) => file.endsWith(".safetensors"))) {
      const shard = await openSafetensors(join(path, name));
      expect(shard.metadata.get("format")).toBe("pt");
      const bytes = [...shard.tensors.values()].map((t) => t.sizeBytes);
      if (bytes.length > 1) expect(bytes.reduce((a, b) => a + b)).toBeLessThanOrEqual(maxShardBytes);
      await shard.close();
    }
    const archive = await openCheckpoint(path);
    expect(archive.tensors.size).toBe(sizes.length);
    for (const [i, [name, size]] of sizes.entries()) {
      expect(await archive.tensors.get(name)?.bytes()).toEqual(new Uint8Array(size).fill(i + 1));
    }
    await archive.close();
  }
});

test("a tensor is fetched when its turn comes and let go before the next, and a failure leaves no folder", async () => {
  const fetched: string[] = [];
  const late = new Map<string, TensorToWrite>(
    ["a", "b", "c"].map((name) => [
      name,
      {
        dtype: "U8",
        shape: [4],
        data: () => {
          fetched.push(name);
          if (name === "c") throw new Error("no more");
          return new Uint8Array(4);
        },
      },
    ]),
  );
  const files = checkpointFiles(late, { maxShardBytes: 4 });
  expect(fetched).toEqual([]);
  await expect(writeFolderAtomic(join(folder, "failed"), files)).rejects.toThrow("no more");
  expect(fetched).toEqual(["a", "b", "c"]);
  expect(readdirSync(folder).filter((name) => name.startsWith("failed"))).toEqual([]);
});

test("sizes that are none are refused", () => {
  for (const maxShardBytes of [0, -1, 1.5, Number.NaN]) {
    expect(() => checkpointFiles(new Map(), { maxShardBytes })).toThrow(
      /maxShardBytes to be a positive integer/,
    );
  }
  const half: TensorToWrite = { dtype: "F4", shape: [1], data: new Uint8Array(1) };
  expect(() => checkpointFiles(new Map([["a", half]]))).toThrow(
    /"a" to have a size in whole bytes, got F4 \[1\]/,
  );
});
