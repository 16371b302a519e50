import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  apply,
  type Backend,
  ConfigError,
  defineOp,
  evaluate,
  memory,
  setDefaultBackend,
  tensor,
} from "@lowrank/tensor";
import { startEmbedded } from "../src/backend.js";
import type { PackedExtension } from "../src/emit.js";
import type { Kernel } from "../src/kernel.js";

// Writes kernel + chunk into word `chunk` of its result; a kernel below zero tells of a failure.
const SOURCE = `
export function f(args: usize, chunk: i32, chunks: i32, scratch: usize): void {
  const kernel = load<i32>(args, 4);
  const to = load<usize>(args, 8);
  if (kernel >= 0) store<i32>(to + (<usize>chunk << 2), kernel + chunk);
  else store<i32>(to, kernel, 28);
}
`;
const CHUNKS = 300;

let extension: PackedExtension;
beforeAll(async () => {
  const folder = mkdtempSync(join(tmpdir(), "lowrank-extension-"));
  try {
    mkdirSync(join(folder, "assembly"));
    writeFileSync(join(folder, "assembly", "index.ts"), SOURCE);
    const scripts = new URL("../scripts/build-wasm.mjs", import.meta.url).href;
    const { buildExtension } = (await import(scripts)) as {
      buildExtension(options: { sources: string; generated: string }): Promise<boolean>;
    };
    const generated = join(folder, "kernels.mjs");
    await buildExtension({ sources: join(folder, "assembly"), generated });
    expect(readFileSync(generated, "utf8")).toContain("packed");
    extension = ((await import(generated)) as { extension: PackedExtension }).extension;
  } finally {
    rmSync(folder, { recursive: true });
  }
});

/** An op of another package: CHUNKS numbers from `arg` on; below zero it fails. */
const ours: Kernel = {
  emit(group, ctx) {
    const arg = group.arg as number;
    if (arg >= 0) ctx.linked(extension, arg, [ctx.pointer(group.outputs[0]!)], CHUNKS);
    else {
      const failed = (words: Int32Array) =>
        new ConfigError({ where: "countFrom", expected: "a number from 0", got: words.join(" ") });
      ctx.linked(extension, arg, [ctx.status(failed)], 1);
    }
  },
};
const countFromOp = defineOp<number>("countFrom", {
  kind: "kernel",
  infer: () => ({ dtype: "i32", dims: [CHUNKS] }),
  kernels: { wasm: ours },
});
const countFrom = (from: number) => apply(countFromOp, [tensor([0])], from);
const expected = (from: number) => Array.from({ length: CHUNKS }, (_, i) => from + i);

describe.each([
  ["one thread", 1, 1],
  ["three threads", 3, 1],
  ["two memories", 1, 2],
] as const)("an op that brings its kernel along, %s", (_, threads, memories) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await startEmbedded({ threads, memories: new Array<number>(memories).fill(1 << 24) });
    setDefaultBackend(backend);
  });
  afterAll(() => backend.dispose());

  test("runs on every thread, with what else is in the plan", async () => {
    for (let round = 0; round < 20; round++) {
      const sum = countFrom(round).add(countFrom(1000));
      expect(await sum.toArray()).toEqual(expected(round).map((x, i) => x + 1000 + i));
    }
  });

  test("fails with the error that it words, and leaves nothing behind", async () => {
    const before = memory();
    for (const from of [-3, -4]) {
      const failing = countFrom(from);
      await expect(evaluate(failing)).rejects.toThrow(
        `countFrom: expected a number from 0, got 0 0 0 0 0 0 0 ${from}`,
      );
    }
    expect(memory().ownedBytes).toBe(before.ownedBytes);
    expect(await countFrom(5).toArray()).toEqual(expected(5));
  });
});

test("an extension that the engine refuses is a DeviceError", async () => {
  const backend = await startEmbedded({ threads: 1, memories: [1 << 24] });
  setDefaultBackend(backend);
  const good = extension;
  extension = { ...good, relaxedBytes: good.relaxedBytes - 3, plainBytes: good.plainBytes + 3 };
  await expect(evaluate(countFrom(0))).rejects.toThrow(/expected an engine that links kernels/);
  extension = good;
  expect(await countFrom(0).toArray()).toEqual(expected(0));
  backend.dispose();
});
