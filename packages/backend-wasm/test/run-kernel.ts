import type {
  DType,
  Group,
  HostArray,
  KernelGroup,
  Node,
  OpDef,
  Operand,
  Schedule,
  Value,
} from "@lowrank/tensor/backend";
import { contiguousStrides, decodeHost, encodeHost, hostView, sizeOf } from "@lowrank/tensor/backend";
import { WasmBuffer } from "../src/buffer.js";
import type { Kernel } from "../src/emit.js";
import { Plan } from "../src/executor.js";
import type { Machine } from "../src/machine.js";
import { dtypeBytes } from "@lowrank/tensor/backend";

/** An operand of a test: numbers in memory, and the view of them that the kernel gets. */
export interface TestInput {
  readonly dtype: DType;
  /** What lies in memory. */
  readonly numbers: ArrayLike<number>;
  readonly dims: readonly number[];
  /** Default: row-major. */
  readonly strides?: readonly number[];
  readonly offset?: number;
}

export interface TestOutput {
  readonly dtype: DType;
  readonly dims: readonly number[];
}

const NO_NODE = null as unknown as Node;

function value(id: number, dtype: DType, size: number, home: Value["home"], dims: readonly number[]): Value {
  return { id, dtype, dims, size, home, node: NO_NODE };
}

/** Prepares a kernel for stored inputs, and runs it once; `again` runs it once more. */
export function runKernel(
  machine: Machine,
  kernel: Kernel,
  op: OpDef,
  arg: unknown,
  inputs: readonly (TestInput | { readonly scalar: number; readonly dtype: DType })[],
  outputs: readonly TestOutput[],
): { plan: Plan; results: Float64Array[]; raw: HostArray[]; again(): void; dispose(): void } {
  const leaves: HostArray[] = [];
  const scalars: Schedule["scalars"][number][] = [];
  const slots: number[] = [];
  const operands = inputs.map((input, id): KernelGroup["inputs"][number] => {
    if ("scalar" in input) {
      slots.push(input.scalar);
      scalars.push({ kind: "slot", slot: scalars.length, dtype: input.dtype });
      return { scalarSlot: scalars.length - 1, dtype: input.dtype };
    }
    leaves.push(encodeHost(input.dtype, input.numbers));
    const stored = value(
      id,
      input.dtype,
      input.numbers.length,
      { kind: "leaf", slot: leaves.length - 1 },
      input.dims,
    );
    const strides = input.strides ?? contiguousStrides(input.dims);
    return {
      value: stored,
      dtype: input.dtype,
      dims: input.dims,
      strides,
      offset: input.offset ?? 0,
    } satisfies Operand;
  });
  const values = outputs.map(({ dtype, dims }, slot) =>
    value(100 + slot, dtype, sizeOf(dims), { kind: "root", slot }, dims),
  );
  const group: Group = { kind: "kernel", name: op.name, op, arg, inputs: operands, outputs: values };
  const schedule: Schedule = { groups: [group], values, scalars, arenaBytes: 0, liveBytes: 0 };
  const plan = new Plan(machine, schedule, (g, context) => kernel.emit(g as KernelGroup, context), null);
  const roots = values.map((v) => {
    const bytes = Math.max(1, v.size * dtypeBytes(v.dtype));
    const buffer = new WasmBuffer(bytes, machine.heap.allocate(bytes, "test"));
    machine.heap.u8.fill(0xff, buffer.at, buffer.at + machine.heap.sizeOf(buffer.at)); // NaN until written
    return buffer;
  });
  const bindings = { leaves, scalars: Float64Array.from(slots), roots };
  plan.run(bindings);
  const raw = values.map((v, i) => {
    const { at, bytes } = roots[i]!;
    return hostView(v.dtype, machine.heap.u8.slice(at, at + bytes).buffer, 0, v.size);
  });
  return {
    plan,
    raw,
    results: values.map((v, i) => decodeHost(v.dtype, raw[i]!)),
    again: () => plan.run(bindings),
    dispose() {
      plan.dispose();
      for (const { at } of roots) machine.heap.free(at);
    },
  };
}
