import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { KernelGroup, OpDef, Schedule, Value } from "@lowrank/tensor/backend";
import { describe, expect, test, vi } from "vitest";
import { COPY_PROBE } from "../assembly/ids.js";
import { unshare } from "./binary.js";
import { WasmBuffer } from "./buffer.js";
import { Plan } from "./executor.js";
import { Machine } from "./machine.js";

const probeOp: OpDef<null> = { name: "probe", kind: "kernel", infer: () => [] };
const node = null as unknown as Value["node"];

/** A plan of `commands` probes, each of `chunks` parts, that write to one root. */
function probePlan(machine: Machine, commands: number, chunks: number, kernel = COPY_PROBE): Plan {
  const out: Value = {
    id: 0,
    dtype: "i32",
    dims: [chunks],
    size: chunks,
    home: { kind: "root", slot: 0 },
    node,
  };
  const group: KernelGroup = {
    kind: "kernel",
    name: "probe",
    op: probeOp,
    arg: null,
    inputs: [],
    outputs: [out],
  };
  const schedule: Schedule = { groups: [group], values: [out], scalars: [], arenaBytes: 0, liveBytes: 0 };
  const emit = (_: unknown, context: Parameters<ConstructorParameters<typeof Plan>[2]>[1]): void => {
    for (let i = 0; i < commands; i++) context.command(kernel, [context.pointer(out)], chunks);
  };
  return new Plan(machine, schedule, emit, null);
}

const rootOf = (machine: Machine, words: number): WasmBuffer =>
  new WasmBuffer(4 * words, machine.heap.allocate(4 * words, "test"));
const run = (plan: Plan, root: WasmBuffer): void =>
  void plan.run({ leaves: [], scalars: new Float64Array(), roots: [root] });

const threadsOf = (machine: Machine): readonly { stop(): void }[] =>
  (machine as unknown as { workers: { stop(): void }[] }).workers;

async function arrived(machine: Machine): Promise<void> {
  while (machine.arrived < machine.threads - 1) await new Promise((done) => setTimeout(done, 2));
}

describe("the machine", () => {
  test("every chunk of every command runs, on one thread, on three, and after they have gone to sleep", async () => {
    for (const threads of [1, 3]) {
      const machine = await Machine.create({ threads, maxMemoryBytes: 2 ** 26 });
      const root = rootOf(machine, 500);
      const words = (): number[] => Array.from(machine.heap.i32.subarray(root.at / 4, root.at / 4 + 500));
      const plan = probePlan(machine, 3, 500);
      run(plan, root); // perhaps before the threads are up
      await arrived(machine);
      for (let round = 0; round < 200; round++) {
        machine.heap.u8.fill(0, root.at, root.at + 2000);
        run(plan, root);
        expect(words()).toEqual(Array.from({ length: 500 }, (_, i) => i + 1));
        if (round % 50 === 0) await new Promise((done) => setTimeout(done, 10));
      }
      machine.dispose();
      expect(() => run(plan, root)).toThrowError(/one that was disposed/);
    }
  });

  test("a plan follows its buffers from run to run", async () => {
    const machine = await Machine.create({ threads: 1, maxMemoryBytes: 2 ** 26 });
    const plan = probePlan(machine, 1, 4);
    const [first, second] = [rootOf(machine, 4), rootOf(machine, 4)];
    for (const root of [first, second, first]) {
      machine.heap.u8.fill(0, root.at, root.at + 16);
      run(plan, root);
      expect(machine.heap.i32[root.at / 4 + 3]).toBe(4);
    }
    machine.dispose();
  });

  test("a kernel that traps, on whichever thread, is an error and not a wait without end", async () => {
    const machine = await Machine.create({ threads: 3, maxMemoryBytes: 2 ** 26 });
    await arrived(machine);
    const plan = probePlan(machine, 1, 300, 30); // no kernel has this number
    expect(() => run(plan, rootOf(machine, 300))).toThrowError(/whose kernel stopped/);
    expect(() => run(plan, rootOf(machine, 300))).toThrowError(/whose kernel stopped/);
    machine.dispose();
  });

  test("64 threads on whatever cores there are do all the work once", async () => {
    const machine = await Machine.create({ threads: 64, maxMemoryBytes: 2 ** 28 });
    const root = rootOf(machine, 300);
    const plan = probePlan(machine, 20, 300);
    for (let round = 0; round < 20; round++) {
      machine.heap.u8.fill(0, root.at, root.at + 1200);
      run(plan, root);
      expect(machine.heap.i32.slice(root.at / 4, root.at / 4 + 300)).toEqual(
        Int32Array.from({ length: 300 }, (_, i) => i + 1),
      );
      await new Promise((done) => setTimeout(done, 5)); // more of them come up
    }
    await vi.waitFor(() => expect(machine.arrived).toBeGreaterThan(0), 10_000);
    machine.dispose();
  });

  test("a thread that never starts, or is gone, is not waited for", async () => {
    for (const when of ["before it is up", "asleep"]) {
      const machine = await Machine.create({ threads: 3, maxMemoryBytes: 2 ** 26 });
      if (when === "asleep") {
        await arrived(machine);
        await new Promise((done) => setTimeout(done, 20));
      }
      for (const thread of threadsOf(machine)) thread.stop();
      await new Promise((done) => setTimeout(done, 50));
      const root = rootOf(machine, 100);
      const plan = probePlan(machine, 5, 100);
      for (let round = 0; round < 3; round++) {
        machine.heap.u8.fill(0, root.at, root.at + 400);
        run(plan, root);
        expect(machine.heap.i32.slice(root.at / 4, root.at / 4 + 100)).toEqual(
          Int32Array.from({ length: 100 }, (_, i) => i + 1),
        );
      }
      machine.dispose();
    }
  });

  test("threads without work are asleep", async () => {
    const machine = await Machine.create({ threads: 3, maxMemoryBytes: 2 ** 26 });
    await arrived(machine);
    run(probePlan(machine, 10, 300), rootOf(machine, 300));
    await new Promise((done) => setTimeout(done, 50));
    const before = process.cpuUsage();
    await new Promise((done) => setTimeout(done, 400));
    const { user, system } = process.cpuUsage(before);
    expect((user + system) / 1000, "milliseconds of 400").toBeLessThan(100);
    machine.dispose();
  });

  test("scratch grows when a plan asks for more", async () => {
    const machine = await Machine.create({ threads: 2, maxMemoryBytes: 2 ** 28 });
    const before = machine.heap.usedBytes;
    machine.ensureScratch(3 << 20);
    expect(machine.heap.usedBytes - before).toBe(2 * (2 << 20));
    machine.dispose();
  });

  test("a thread keeps no process alive", () => {
    const probe = fileURLToPath(new URL("../test/exit-probe.ts", import.meta.url));
    const { status, stdout } = spawnSync(process.execPath, ["--import", "tsx", probe], {
      timeout: 30_000,
      encoding: "utf8",
    });
    expect({ status, stdout }).toEqual({ status: 0, stdout: "up\n" });
  });

  test("the shared bit of the memory import is cleared, and a module without one is a bug", () => {
    // (module (import "env" "memory" (memory 1 2 shared)))
    const name = (text: string): number[] => [text.length, ...new TextEncoder().encode(text)];
    const entry = [1, ...name("env"), ...name("memory"), 2, 3, 1, 2];
    const bytes = new Uint8Array([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 2, entry.length, ...entry]);
    const patched = unshare(bytes);
    expect(patched[patched.length - 3]).toBe(1);
    const memory = new WebAssembly.Memory({ initial: 1, maximum: 2 });
    expect(
      () => new WebAssembly.Instance(new WebAssembly.Module(patched), { env: { memory } }),
    ).not.toThrow();
    expect(() => unshare(bytes.slice(0, 8))).toThrowError(/import no memory/);
  });
});
