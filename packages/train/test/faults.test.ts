import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { peftFiles } from "@lowrank/adapters";
import { type FileLayer, hostFiles } from "@lowrank/models";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { findCheckpoint } from "../src/checkpoint.js";
import type { TrainEvent } from "../src/events.js";
import type { TrainOptions } from "../src/train-options.js";
import { train } from "../src/trainer.js";
import { smallRun } from "./small-run.js";

const STEPS = 8;
const place = mkdtempSync(join(tmpdir(), "faults-"));
afterAll(() => rmSync(place, { recursive: true, force: true }));
let runs = 0;
const newFolder = (): string => join(place, `run-${runs++}`);

/** Trains and gives the bytes of the adapter. */
async function adapterAfter(save?: TrainOptions["save"], more: Partial<TrainOptions> = {}) {
  const { attached, options } = smallRun(STEPS, { save, resume: save !== undefined, ...more });
  await train(options);
  const files = await peftFiles(attached);
  return Buffer.from(files.get("adapter_model.safetensors")!).toString("base64");
}

let whole: string;
beforeAll(async () => {
  whole = await adapterAfter();
});

/** The host's files, on a disk that fails at one call that changes something, or at all from there on. */
function failing(code: string, at: number, forGood: boolean): { layer: FileLayer; calls: string[] } {
  const host = hostFiles();
  const calls: string[] = [];
  const step = (act: string, path: string): void => {
    const call = calls.length;
    const name = path.slice(path.lastIndexOf("/") + 1);
    calls.push(`${act} ${name.replace(/(step|run)-\d+/, "$1-N").replace(/[0-9a-f]{12}/, "random")}`);
    if (call === at || (forGood && call > at)) throw Object.assign(new Error(`${code}: ${path}`), { code });
  };
  const layer: FileLayer = {
    ...host,
    async makeFolder(path) {
      step("makeFolder", path);
      await host.makeFolder(path);
    },
    async create(path) {
      step("create", path);
      const file = await host.create(path);
      return {
        async write(bytes) {
          try {
            step("write", path);
          } catch (error) {
            await file.write(bytes.subarray(0, bytes.length >> 1)); // a full disk takes what fits
            throw error;
          }
          await file.write(bytes);
        },
        async sync() {
          step("sync", path);
          await file.sync();
        },
        close: () => file.close(),
      };
    },
    async rename(from, to) {
      step("rename", to);
      await host.rename(from, to);
    },
    async remove(path) {
      step("remove", path);
      await host.remove(path);
    },
    async syncFolder(path) {
      step("syncFolder", path);
      await host.syncFolder(path);
    },
  };
  return { layer, calls };
}

describe.each([
  ["a disk that is full from some moment on", "ENOSPC", true],
  ["an input/output error of one call", "EIO", false],
] as const)("%s", (_name, code, forGood) => {
  test("leaves the last good checkpoint usable, and a resume ends in the same bytes", async () => {
    const counting = failing(code, Number.POSITIVE_INFINITY, forGood);
    await adapterAfter({ folder: newFolder(), every: 2, layer: counting.layer });
    // The first and the last call of every kind: "write optimizer.safetensors", "rename step-N", ...
    const kinds = [...new Set(counting.calls)];
    expect(kinds.length).toBeGreaterThan(15);
    const moments = kinds.flatMap((kind) => [counting.calls.indexOf(kind), counting.calls.lastIndexOf(kind)]);
    const told = new Set<string>();
    for (const at of new Set(moments)) {
      const folder = newFolder();
      const saved: number[] = [];
      const onEvent = (e: TrainEvent) => e.type === "save" && saved.push(e.step);
      const { layer } = failing(code, at, forGood);
      const error = await adapterAfter({ folder, every: 2, layer }, { onEvent }).then(
        () => undefined,
        (reason: Error) => reason,
      );
      if (error) told.add((error as { code?: string }).code ?? error.message);
      const found = await findCheckpoint({ folder });
      expect(found?.broken ?? [], `call ${at}`).toEqual([]);
      expect(found?.step ?? 0, `call ${at}`).toBeGreaterThanOrEqual(saved.at(-1) ?? 0);
      expect(await adapterAfter({ folder, every: 2 }), `call ${at}`).toBe(whole);
      // What could not be removed after the very last save may still be there.
      expect(readdirSync(folder).sort().slice(-2), `call ${at}`).toEqual(["step-000006", "step-000008"]);
    }
    expect([...told]).toContain("LOWRANK_WRITE");
  }, 120_000);
});

test("a flipped bit in any file of the newest checkpoint sends a resume to the one before", async () => {
  const folder = newFolder();
  await adapterAfter({ folder, every: 2 });
  const newest = join(folder, "step-000008");
  const files = readdirSync(newest);
  expect(files.sort()).toEqual([
    "manifest.json",
    "optimizer.safetensors",
    "parameters.safetensors",
    "state.json",
  ]);
  for (const file of files) {
    for (const place of [0, 0.5, 1]) {
      const path = join(newest, file);
      const bytes = readFileSync(path);
      const at = Math.round((bytes.length - 1) * place);
      bytes[at]! ^= 1 << (at % 8);
      writeFileSync(path, bytes);
      const events: TrainEvent[] = [];
      const resumed = await adapterAfter({ folder, every: 2 }, { onEvent: (e) => events.push(e) });
      expect(
        events.slice(0, 2).map((e) => (e.type === "resume" ? e.step : e.type)),
        `${file}, byte ${at}`,
      ).toEqual(["warning", 6]);
      expect(resumed, `${file}, byte ${at}`).toBe(whole);
    }
  }
});

test("checkpoints that are all broken are an error that says so", async () => {
  const folder = newFolder();
  await adapterAfter({ folder, every: 2 });
  for (const name of readdirSync(folder)) writeFileSync(join(folder, name, "state.json"), "{}");
  await expect(adapterAfter({ folder, every: 2 })).rejects.toThrow(
    /expected a checkpoint that is whole.*state.json.*remove the folder to begin anew/,
  );
});
