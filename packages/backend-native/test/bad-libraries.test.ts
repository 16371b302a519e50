import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { DeviceError, matmul, setDefaultBackend, tensor } from "@lowrank/tensor";
import { expectBinary } from "../src/binary-format.js";
import { native } from "../src/index.js";
import { compile, folder, noCompiler } from "./c-library.js";

// A library that the environment names would be asked for where none is.
beforeAll(() => void vi.stubEnv("LOWRANK_BLAS", undefined));
afterAll(() => void vi.unstubAllEnvs());

/** A copy of a library with some of its bytes changed, or cut off. */
function changed(name: string, path: string, change: (bytes: Buffer) => Buffer): string {
  const to = join(folder, name);
  writeFileSync(to, change(readFileSync(path)));
  return to;
}

async function refusal(library: string): Promise<string> {
  try {
    const backend = await native({ library, threads: 1 });
    backend.dispose();
  } catch (error) {
    expect(error).toBeInstanceOf(DeviceError);
    return (error as Error).message.replace(library, "LIBRARY");
  }
  throw new Error(`${library} was taken`);
}

describe("a path that is no library is refused", () => {
  test("nothing, a folder, a text, and a file too short for a header", async () => {
    expect(await refusal(join(folder, "none.so"))).toMatch(/^native: LIBRARY: expected .*, got ENOENT/);
    mkdirSync(join(folder, "folder.so"));
    expect(await refusal(join(folder, "folder.so"))).toMatch(/got a folder/);
    const text = join(folder, "text.so");
    writeFileSync(text, "INPUT(libblas.so.3)\n".repeat(10));
    expect(await refusal(text)).toMatch(/got a file of 200 bytes that is no library/);
    writeFileSync(text, "\x7fELF");
    expect(await refusal(text)).toMatch(/got a file of 4 bytes that is no library/);
    expect(await refusal("liblowrank-has-no-such-library.so.0")).toMatch(
      /expected a library that can be loaded/,
    );
  });

  test("one for another system or processor, by its header", () => {
    const write = (name: string, bytes: Uint8Array): string => {
      const path = join(folder, name);
      writeFileSync(path, Buffer.concat([bytes, Buffer.alloc(4096)]));
      return path;
    };
    const mac = write("mac.dylib", Uint8Array.of(0xcf, 0xfa, 0xed, 0xfe, 0x0c, 0, 0, 0x01));
    const both = Buffer.alloc(48);
    [0xcafebabe, 2, 0x1000007, 0, 0, 0, 0, 0x100000c].forEach((word, i) => both.writeUInt32BE(word, 4 * i));
    const fat = write("fat.dylib", both);
    const dll = Buffer.alloc(128);
    dll.write("MZ");
    dll.writeUInt32LE(64, 60);
    dll.write("PE\0\0", 64, "latin1");
    dll.writeUInt16LE(0x8664, 68);
    const pe = write("windows.dll", dll);
    const linux = { platform: "linux", arch: "x64" } as const;
    expect(() => expectBinary(mac, linux)).toThrow(
      /expected an ELF library for x64, got an? Mach-O library for arm64/,
    );
    expect(() => expectBinary(pe, linux)).toThrow(/got an? PE library for x64/);
    expectBinary(mac, { platform: "darwin", arch: "arm64" });
    expectBinary(fat, { platform: "darwin", arch: "arm64" });
    expectBinary(fat, { platform: "darwin", arch: "x64" });
    expectBinary(pe, { platform: "win32", arch: "x64" });
    expect(() => expectBinary(mac, { platform: "darwin", arch: "x64" })).toThrow(
      /got a Mach-O library for arm64/,
    );
    expect(() => expectBinary(pe, { platform: "win32", arch: "arm64" })).toThrow(/got a PE library for x64/);
  });
});

describe.skipIf(noCompiler)("a library that cannot be relied on is refused before it does harm", () => {
  test("one for another processor", async () => {
    const other = process.arch === "arm64" ? 62 : 183;
    const path = changed("processor.so", compile("right.so"), (bytes) => {
      bytes.writeUInt16LE(other, 18);
      return bytes;
    });
    const name = other === 62 ? "x64" : "arm64";
    expect(await refusal(path)).toBe(
      `native: LIBRARY: expected an ELF library for ${process.arch}, got an ELF library for ${name}; name another library by LOWRANK_BLAS, or choose the wasm backend`,
    );
  });

  test("one that is cut off, wherever", async () => {
    const right = compile("right.so");
    const { length } = readFileSync(right);
    for (const part of [0.01, 0.3, 0.6])
      expect(await refusal(changed("cut.so", right, (bytes) => bytes.subarray(0, length * part)))).toMatch(
        /expected a whole library of at least \d+ bytes, got \d+ bytes: the file is cut off|that is no library/,
      );
  });

  test("one without the functions, or with all of them for integers of 64 bits under other names", async () => {
    expect(await refusal(compile("empty.so", "EMPTY"))).toMatch(
      /expected the functions cblas_sgemm, cblas_dgemm, .*, got none of cblas_sgemm, cblas_dgemm, .*cblas_sdot/,
    );
    expect(await refusal(compile("named.so", "INT=long", "NAME(f)=f##64_"))).toMatch(
      /got cblas_sgemm64_, which takes integers of 64 bits; install the build with 32-bit integers/,
    );
  });

  test("one with integers of 64 bits where 32 are expected", async () => {
    expect(await refusal(compile("wide.so", "INT=long"))).toMatch(
      /expected integers of 32 bits \(LP64\), got a library that takes integers of 64 bits \(ILP64\)/,
    );
  });

  test("one that computes wrongly", async () => {
    expect(await refusal(compile("wrong.so", "LAST=(K>500)"))).toMatch(
      /expected cblas_sgemm to give -?\d+ at \[\d+, \d+\] of a product of \[9, 600\] by \[600, 35\], got -?\d+; the library computes wrongly/,
    );
    expect(await refusal(compile("wrong-gram.so", "LAST_OF_GRAM=(K>500)"))).toMatch(
      /expected cblas_ssyrk to give -?\d+ at \[\d+, \d+\] of a matrix of \[9, 600\] by its transpose, got -?\d+; the library computes wrongly/,
    );
  });

  test("where nobody asked for it, WebAssembly computes, and one line says so", async () => {
    const lines: string[] = [];
    const candidates = [compile("wrong.so", "LAST=1"), "liblowrank-has-no-such-library.so.0"];
    const backend = await native({ candidates, threads: 1, onFallback: (line) => lines.push(line) });
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatch(/^native: .*wrong\.so: expected .*; WebAssembly computes.*apt-get install/);
    expect(lines[0]).not.toContain("\n");
    expect(backend.library).toBe(null);
    expect(backend.name).toBe("wasm");
    setDefaultBackend(backend);
    const a = tensor([
      [1, 2],
      [3, 4],
    ]);
    expect(await matmul(a, a).toArray()).toEqual([
      [7, 10],
      [15, 22],
    ]);
    backend.dispose();
  });

  test("one of which nothing is known is taken where it was asked for, and only there", async () => {
    const right = compile("right.so");
    const backend = await native({ library: right, threads: 2, always: true });
    expect(backend.library).toEqual({ name: "BLAS", version: "", path: right });
    setDefaultBackend(backend);
    const a = tensor([
      [1, 2],
      [3, 4],
    ]);
    expect(await matmul(a, a).toArray()).toEqual([
      [7, 10],
      [15, 22],
    ]);
    backend.dispose();
    const lines: string[] = [];
    const other = await native({ candidates: [right], threads: 1, onFallback: (line) => lines.push(line) });
    expect(other.library).toBe(null);
    expect(lines[0]).toMatch(/^native: no BLAS was found, so WebAssembly computes; /);
    other.dispose();
  });
});
