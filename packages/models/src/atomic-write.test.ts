import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildSync } from "esbuild";
import { afterAll, describe, expect, test } from "vitest";
import {
  recoverFolder,
  verifyFolder,
  writeFileAtomic,
  writeFolderAtomic,
  type FolderWriteOptions,
} from "./atomic-write.js";
import { hostFiles, type FileLayer } from "./file-layer.js";
import { SimulatedDisk, type Fate } from "../test/simulated-disk.js";
import { randomNumbers } from "../test/safetensors-mutator.js";

const folder = mkdtempSync(join(tmpdir(), "atomic-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** Unsynced data lost, kept, and torn or reordered in 20 ways. */
const fates: [string, Fate][] = [
  ["lost", "lost"],
  ["kept", "kept"],
  ...Array.from({ length: 20 }, (_, seed): [string, Fate] => {
    const random = randomNumbers(seed);
    return [`torn ${seed}`, (choices) => Math.floor(random() * choices)];
  }),
];

async function diskWith(paths: string[]): Promise<SimulatedDisk> {
  const disk = new SimulatedDisk();
  for (const path of paths) await disk.layer.makeFolder(path);
  await disk.layer.syncFolder("/");
  disk.crash("kept");
  return disk;
}

const save = (disk: SimulatedDisk, target: string, step: number, options: FolderWriteOptions = {}) =>
  writeFolderAtomic(
    target,
    { "a.bin": [new Uint8Array(9).fill(step), new Uint8Array(5)], "b.json": `{"step":${step}}` },
    {
      layer: disk.layer,
      manifest: { step },
      ...options,
    },
  );

/** How many calls a save makes when nothing goes wrong. */
async function countCalls(
  prepare: (disk: SimulatedDisk) => Promise<void>,
  act: (disk: SimulatedDisk) => Promise<unknown>,
) {
  const disk = await diskWith(["/runs"]);
  await prepare(disk);
  const before = disk.callCount;
  await act(disk);
  return disk.callCount - before;
}

describe("when the machine stops at any call of a save", () => {
  test("a file is the old one or the new one", async () => {
    const write = (disk: SimulatedDisk, text: string) =>
      writeFileAtomic(
        "/runs/f",
        [...text].map((c) => new TextEncoder().encode(c)),
        { layer: disk.layer },
      );
    const calls = await countCalls(
      (disk) => write(disk, "old").then(() => {}),
      (disk) => write(disk, "newer"),
    );
    expect(calls).toBe(9); // create, 5 writes, sync, rename, sync of the folder
    for (let stop = 0; stop <= calls; stop++) {
      for (const [name, fate] of fates) {
        const disk = await diskWith(["/runs"]);
        await write(disk, "old");
        disk.stopAt = disk.callCount + stop;
        const finished = await write(disk, "newer").then(
          () => true,
          () => false,
        );
        disk.crash(fate);
        const text = disk.text("/runs/f");
        expect(finished, `stop ${stop}, ${name}`).toBe(stop === calls);
        if (finished) expect(text, `stop ${stop}, ${name}`).toBe("newer");
        else expect(["old", "newer"], `stop ${stop}, ${name}`).toContain(text);
      }
    }
  });

  test("a new folder is whole or not there, and those before it are as they were", async () => {
    const calls = await countCalls(
      async () => {},
      (disk) => save(disk, "/runs/c-1", 1),
    );
    let absent = 0;
    let whole = 0;
    for (let stop = 0; stop <= calls; stop++) {
      for (const [name, fate] of fates) {
        const disk = await diskWith(["/runs"]);
        await save(disk, "/runs/c-1", 1);
        disk.stopAt = disk.callCount + stop;
        const finished = await save(disk, "/runs/c-2", 2).then(
          () => true,
          () => false,
        );
        disk.crash(fate);
        expect((await verifyFolder("/runs/c-1", { layer: disk.layer })).fields).toEqual({ step: 1 });
        if (disk.names("/runs").includes("c-2")) {
          whole++;
          expect((await verifyFolder("/runs/c-2", { layer: disk.layer })).fields).toEqual({ step: 2 });
        } else {
          absent++;
          expect(finished, `stop ${stop}, ${name}`).toBe(false);
        }
        await recoverFolder("/runs/c-2", { layer: disk.layer });
        expect(disk.names("/runs").filter((entry) => entry.endsWith(".tmp"))).toEqual([]);
      }
    }
    expect(absent).toBeGreaterThan(50);
    expect(whole).toBeGreaterThan(20);
  });

  test("a folder that is replaced is the old one or the new one, after recovery", async () => {
    const replace = (disk: SimulatedDisk) => save(disk, "/runs/adapter", 2, { replace: true });
    const calls = await countCalls((disk) => save(disk, "/runs/adapter", 1).then(() => {}), replace);
    const seen = new Set<string>();
    for (let stop = 0; stop <= calls; stop++) {
      for (const [name, fate] of fates) {
        const disk = await diskWith(["/runs"]);
        await save(disk, "/runs/adapter", 1);
        disk.stopAt = disk.callCount + stop;
        const finished = await replace(disk).then(
          () => true,
          () => false,
        );
        disk.crash(fate);
        const recovery = await recoverFolder("/runs/adapter", { layer: disk.layer });
        const { fields } = await verifyFolder("/runs/adapter", { layer: disk.layer });
        seen.add(`${recovery} ${fields["step"]}`);
        if (finished) expect(fields, name).toEqual({ step: 2 });
        expect(disk.names("/runs"), name).toEqual(["adapter"]);
      }
    }
    expect(seen).toContain("restored 2");
    expect(seen).toContain("removed 1");
  });
});

describe("when any call of a save fails", () => {
  test.each(["ENOSPC", "EIO"])(
    "with %s, the error says so, nothing is left behind and the earlier folder is whole",
    async (code) => {
      const replace = (disk: SimulatedDisk) => save(disk, "/runs/adapter", 2, { replace: true });
      const calls = await countCalls((disk) => save(disk, "/runs/adapter", 1).then(() => {}), replace);
      for (let fail = 0; fail < calls - 1; fail++) {
        const disk = await diskWith(["/runs"]);
        await save(disk, "/runs/adapter", 1);
        disk.failAt = disk.callCount + fail;
        disk.failWith = code;
        await expect(replace(disk), `call ${fail}`).rejects.toMatchObject({
          code: "LOWRANK_WRITE",
          systemCode: code,
          where: "/runs/adapter",
        });
        expect((await verifyFolder("/runs/adapter", { layer: disk.layer })).fields, `call ${fail}`).toEqual({
          step: 1,
        });
        expect(disk.names("/runs"), `call ${fail}`).toEqual(["adapter"]);
      }
    },
  );

  test("after the last call that matters, the save has succeeded", async () => {
    const replace = (disk: SimulatedDisk) => save(disk, "/runs/adapter", 2, { replace: true });
    const calls = await countCalls((disk) => save(disk, "/runs/adapter", 1).then(() => {}), replace);
    const disk = await diskWith(["/runs"]);
    await save(disk, "/runs/adapter", 1);
    disk.failAt = disk.callCount + calls - 1; // the removal of the folder that was replaced
    expect((await replace(disk)).fields).toEqual({ step: 2 });
    expect(await recoverFolder("/runs/adapter", { layer: disk.layer })).toBe("removed");
    expect(disk.names("/runs")).toEqual(["adapter"]);
  });

  test("a file that may not survive a power cut is told apart from one that was not written", async () => {
    const disk = await diskWith(["/runs"]);
    disk.failAt = 4; // create, write, sync, rename, sync of the folder
    disk.failWith = "EIO";
    await expect(writeFileAtomic("/runs/f", "text", { layer: disk.layer })).rejects.toThrow(
      /in its place but may not survive/,
    );
    expect(disk.text("/runs/f")).toBe("text");
  });

  test("a full disk is named as such", async () => {
    const disk = await diskWith(["/runs"]);
    disk.failAt = 1;
    await expect(writeFileAtomic("/runs/f", "text", { layer: disk.layer })).rejects.toThrow(
      /\/runs\/f: expected to write it, got ENOSPC.+free some space and try again; what was there before is unchanged/,
    );
    expect(disk.names("/runs")).toEqual([]);
  });
});

test("every flipped bit in a saved folder is found", async () => {
  const disk = await diskWith(["/runs"]);
  await save(disk, "/runs/c", 1);
  await verifyFolder("/runs/c", { layer: disk.layer });
  for (const name of disk.names("/runs/c")) {
    const path = `/runs/c/${name}`;
    for (let byte = 0; byte < disk.size(path); byte++) {
      for (let bit = 0; bit < 8; bit++) {
        disk.flip(path, byte, bit);
        await expect(
          verifyFolder("/runs/c", { layer: disk.layer }),
          `${name} ${byte}.${bit}`,
        ).rejects.toMatchObject({ code: "LOWRANK_FORMAT" });
        disk.flip(path, byte, bit);
      }
    }
  }
  await verifyFolder("/runs/c", { layer: disk.layer });
});

test("a folder without its manifest, or without one of its files, is not taken", async () => {
  const disk = await diskWith(["/runs"]);
  await save(disk, "/runs/c", 1);
  await disk.layer.remove("/runs/c/a.bin");
  await expect(verifyFolder("/runs/c", { layer: disk.layer })).rejects.toThrow(
    /a.bin: expected a readable file, got nothing of that name/,
  );
  await disk.layer.remove("/runs/c/manifest.json");
  await expect(verifyFolder("/runs/c", { layer: disk.layer })).rejects.toThrow(
    /manifest.json: expected a readable file/,
  );
});

test("names that no file may have, or that two files would share, are refused before anything is written", async () => {
  const disk = await diskWith(["/runs"]);
  const write = (files: Record<string, string>) => writeFolderAtomic("/runs/c", files, { layer: disk.layer });
  await expect(write({ "../x": "" })).rejects.toThrow(/without path separators/);
  await expect(write({ "manifest.json": "" })).rejects.toThrow(/every name once/);
  await expect(write({ a: "", A: "" })).rejects.toThrow(/every name once/);
  await save(disk, "/runs/c", 1);
  await expect(write({ a: "" })).rejects.toThrow(/a new name, got an existing one/);
  expect(disk.names("/runs")).toEqual(["c"]);
});

test("an abort between two pieces leaves nothing behind and rejects with its reason", async () => {
  const disk = await diskWith(["/runs"]);
  const controller = new AbortController();
  async function* pieces() {
    yield new Uint8Array(3);
    controller.abort(new Error("stopped by hand"));
    yield new Uint8Array(3);
  }
  await expect(
    writeFileAtomic("/runs/f", pieces(), { layer: disk.layer, signal: controller.signal }),
  ).rejects.toThrow("stopped by hand");
  expect(disk.names("/runs")).toEqual([]);
});

describe("on the disk of this machine", () => {
  test("a file is replaced and no other is left", async () => {
    const path = join(folder, "f.txt");
    writeFileSync(path, "old");
    const record = await writeFileAtomic(path, "new");
    expect(readFileSync(path, "utf8")).toBe("new");
    expect(record).toEqual({
      name: "f.txt",
      size: 3,
      sha256: execFileSync("sha256sum", [path], { encoding: "utf8" }).slice(0, 64),
    });
    expect(readdirSync(folder)).toEqual(["f.txt"]);
    rmSync(path);
  });

  test("a device that is always full gives an error and leaves the earlier file", async () => {
    const path = join(folder, "kept.txt");
    writeFileSync(path, "old");
    const host = hostFiles();
    const full: FileLayer = {
      ...host,
      async create() {
        const handle = await open("/dev/full", "r+");
        return {
          write: async (bytes) => void (await handle.write(bytes)),
          sync: () => handle.sync(),
          close: () => handle.close(),
        };
      },
    };
    await expect(writeFileAtomic(path, "new", { layer: full })).rejects.toMatchObject({
      code: "LOWRANK_WRITE",
      systemCode: "ENOSPC",
    });
    expect(readFileSync(path, "utf8")).toBe("old");
    expect(readdirSync(folder)).toEqual(["kept.txt"]);
    rmSync(path);
  });

  test("missing folders above are made, and a file in the way is an error that leaves it", async () => {
    await writeFileAtomic(join(folder, "one", "two", "f"), "x");
    await writeFolderAtomic(join(folder, "one", "three", "four"), { g: "y" });
    expect(readdirSync(join(folder, "one")).sort()).toEqual(["three", "two"]);
    expect(readFileSync(join(folder, "one", "two", "f"), "utf8")).toBe("x");
    await verifyFolder(join(folder, "one", "three", "four"));
    const inTheWay = { code: "LOWRANK_WRITE", systemCode: "ENOTDIR" };
    await expect(writeFileAtomic(join(folder, "one", "two", "f", "g"), "z")).rejects.toMatchObject(inTheWay);
    await expect(writeFolderAtomic(join(folder, "one", "two", "f", "g"), { h: "z" })).rejects.toMatchObject(
      inTheWay,
    );
    expect(readFileSync(join(folder, "one", "two", "f"), "utf8")).toBe("x");
    rmSync(join(folder, "one"), { recursive: true });
  });

  test("each missing folder above is synced into the one above it before anything is written", async () => {
    const points: string[] = [];
    await writeFileAtomic(join(folder, "up", "above", "f"), "x", {
      onPoint: (point) => void (point.startsWith("after") && points.push(point.slice("after ".length))),
    });
    expect(points.slice(0, 5)).toEqual([
      "makeFolder up",
      `syncFolder ${basename(folder)}`,
      "makeFolder above",
      "syncFolder up",
      "create f.tmp",
    ]);
    rmSync(join(folder, "up"), { recursive: true });
  });

  test("a process killed at every named point of a save leaves the old folder or the new one", async () => {
    const script = join(folder, "save-child.mjs");
    const entry = fileURLToPath(new URL("../test/save-child.ts", import.meta.url));
    buildSync({
      entryPoints: [entry],
      outfile: script,
      bundle: true,
      format: "esm",
      platform: "node",
      logLevel: "error",
    });
    const target = join(folder, "adapter");
    const run = (content: string, killAt: string) =>
      spawnSync(process.execPath, [script, target, content, killAt], { encoding: "utf8" });
    expect(run("start", "never").status).toBe(0);
    const points = run("one", "list").stdout.trim().split("\n");
    expect(points.length).toBeGreaterThan(30);
    expect(points).toContain("before rename adapter");
    expect(points).toContain("after sync manifest.json");
    let last = "one";
    const outcomes = new Set<string>();
    for (const [i, point] of [...new Set(points)].entries()) {
      const content = `save ${i}`;
      expect(run(content, point).signal, point).toBe("SIGKILL");
      const recovery = await recoverFolder(target);
      const { fields } = await verifyFolder(target);
      expect([last, content], point).toContain(fields["content"]);
      outcomes.add(`${recovery}, ${fields["content"] === last ? "old" : "new"}`);
      last = fields["content"] as string;
      expect(readdirSync(folder).sort(), point).toEqual(["adapter", "save-child.mjs"]);
    }
    expect(outcomes).toContain("removed, old");
    expect(outcomes).toContain("restored, new");
    expect(existsSync(target)).toBe(true);
  });
});
