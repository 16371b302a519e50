import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { build } from "esbuild";
import { afterAll, describe, expect, test } from "vitest";
import { openFolder, openSource, readSmallFile, type ByteInput } from "./source.js";

const folder = mkdtempSync(join(tmpdir(), "source-"));
afterAll(() => rmSync(folder, { recursive: true }));
const content = new Uint8Array([1, 2, 3, 4, 5]);
const path = join(folder, "five.bin");
writeFileSync(path, content);

const inputs: [string, () => ByteInput][] = [
  ["a path", () => path],
  ["a file URL", () => pathToFileURL(path)],
  ["a Blob", () => new Blob([content])],
  ["a File", () => new File([content], "five.bin")],
  ["a Uint8Array", () => content],
  ["a view into a larger buffer", () => new Uint8Array([0, 0, ...content, 0]).subarray(2, 7)],
  ["an ArrayBuffer", () => content.slice().buffer],
];

describe.each(inputs)("%s", (_name, input) => {
  test("is read at any place", async () => {
    const source = await openSource(input());
    expect(source.size).toBe(5);
    expect(await source.read(1, 3)).toEqual(new Uint8Array([2, 3, 4]));
    expect(await source.read(5, 0)).toEqual(new Uint8Array());
    await source.close();
  });

  test("is not read outside itself", async () => {
    const source = await openSource(input());
    for (const [offset, length] of [
      [0, 6],
      [6, 0],
      [-1, 1],
      [0, -1],
      [0.5, 1],
      [Number.NaN, 1],
      [2 ** 53, 1],
    ] as const) {
      await expect(source.read(offset, length), `${offset}, ${length}`).rejects.toMatchObject({
        code: "LOWRANK_FORMAT",
      });
    }
    await source.close();
  });
});

test("what is no source is refused", async () => {
  await expect(openSource(5 as unknown as string)).rejects.toThrow(/expected a path, URL, Blob.+got number/);
  await expect(openSource(new URL("ftp://example.com/x"))).rejects.toThrow(/a path or a file: or https: URL/);
});

test("a folder gives undefined for a file that it lacks, and refuses a file that is too large", async () => {
  for (const input of [folder, { "five.bin": content }, new Map([["five.bin", content]])]) {
    const opened = await openFolder(input);
    expect(await opened.open("none.bin")).toBeUndefined();
    expect(await readSmallFile(opened, "five.bin", 5)).toEqual(content);
    await expect(readSmallFile(opened, "five.bin", 4)).rejects.toThrow(/at most 4 bytes, got 5 bytes/);
    await expect(opened.open("../five.bin")).rejects.toThrow(/the name of a file/);
  }
  await expect(openFolder(path)).rejects.toThrow(/expected a folder, got a file/);
});

test("the file code is bundled for browsers without a module of Node in it", async () => {
  const contents = `export { openSafetensors, openCheckpoint } from "./safetensors.ts";
    export { encodeSafetensors, writeSafetensors } from "./safetensors-write.ts";
    export { loadTokenizer } from "./tokenizer.ts";`;
  const resolveDir = new URL(".", import.meta.url).pathname;
  const { outputFiles } = await build({
    stdin: { contents, resolveDir, loader: "ts" },
    bundle: true,
    format: "esm",
    platform: "browser",
    write: false,
    logLevel: "error",
  });
  expect(outputFiles[0]?.text).not.toMatch(/(?:import|require)\s*\(?\s*["']node:/);
});
