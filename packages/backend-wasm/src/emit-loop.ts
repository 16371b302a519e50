import {
  bug,
  type DType,
  dtypeBytes,
  type Load,
  type LoopGroup,
  type ReduceOp,
  sizeOf,
} from "@lowrank/tensor/backend";
import * as at from "../assembly/loop-ops.js";
import { LoopOp } from "../assembly/loop-ops.js";
import { type ArgWord, DTYPE_IDS, type EmitContext, type Fixup } from "./emit.js";
import { CODE_WORTH } from "./loop-code.js";
import { classOf } from "./emit-loop-opcodes.js";
import { orderAxes } from "./emit-loop-order.js";
import { mergeAxes, reducedSpace, type ReducedSpace, splitMap, tilesOf } from "./emit-loop-space.js";
import { buildProgram, loadKind, type Program, type Register } from "./emit-loop-program.js";
import type { StretchLine } from "./emit-loop-stretches.js";

const REDUCE_IDS: Record<ReduceOp, number> = {
  sum: at.REDUCE_SUM,
  prod: at.REDUCE_PROD,
  max: at.REDUCE_MAX,
  min: at.REDUCE_MIN,
};
const CLASS_IDS = { F: at.CLASS_F32, D: at.CLASS_F64, I: at.CLASS_I32, U: at.CLASS_U32, B: at.CLASS_I32 };

/** Bytes of block registers that stay in the first-level cache, with room for what streams through. */
const CACHE_BYTES = 24 << 10;
const MOST_ELEMENTS = 512;
/** Where columns are added up, a block should hold a whole row of the matrix, so that memory is read in order. */
const MOST_COLUMNS = 2048;
const LEAST_ELEMENTS = 256;

/** A map as a kernel runs it over parts of its result. */
export interface Epilogue {
  /** Arguments of the block interpreter. */
  readonly args: Fixup;
  readonly scratchBytes: number;
  /** Rough nanoseconds per element. */
  readonly cost: number;
}

/** Prepares a map that reads the result of a kernel, f32 in the thread's scratch, as the value without memory. */
export function emitEpilogue(group: LoopGroup, ctx: EmitContext): Epilogue {
  const size = sizeOf(group.space);
  const { program, codes } = makeProgram(group, size, ctx);
  const block = blockOf(program, MOST_ELEMENTS);
  const { rows, row } = splitMap(group, size, block);
  const slotBytes = block * (program.wide ? 8 : 4) + 64;
  const head = [...programWords(group, program, codes, [], ctx), program.slots, slotBytes, block];
  return {
    args: ctx.data([...head, at.MODE_MAP, rows, row, 1, rows]),
    scratchBytes: program.slots * (at.SLOT_BYTES + at.SPLAT_BYTES + slotBytes) + 512,
    cost: costOf(group, program),
  };
}

/** Emits a fused loop as a program of the block interpreter in assembly/loop.ts. */
export function emitLoop(loop: LoopGroup, ctx: EmitContext): void {
  const group = orderAxes(loop);
  const size = sizeOf(group.space);
  if (size === 0) {
    emitEmpty(group, ctx);
    return;
  }
  const { program, codes } = makeProgram(group, size, ctx);
  const columns = group.reductions.length > 0 && !lastReduced(group);
  const block = blockOf(program, columns && !tilesOf(group) ? MOST_COLUMNS : MOST_ELEMENTS);
  const map = group.reductions.length === 0 ? splitMap(group, size, block) : null;
  const space = map ? null : reducedSpace(group, block);
  const { tiled } = (map ?? space)!;
  const slotBytes = block * (program.wide ? 8 : 4) + 64;
  const head = [...programWords(group, program, codes, tiled, ctx), program.slots, slotBytes, block];
  const accumulators = group.reductions.length * 2 * (block * 8 + 128) + 128;
  const tiles = tiled.length * at.TILE_ROWS * slotBytes;
  ctx.scratch(program.slots * (at.SLOT_BYTES + at.SPLAT_BYTES + slotBytes) + accumulators + tiles + 512);
  const cost = size * costOf(group, program);
  if (map) {
    const { rows, row, together, run, blocks } = map;
    ctx.command(at.LOOP_RUN, [...head, at.MODE_MAP, rows, row, together, run], chunksFor(cost, blocks));
  } else emitReductions(group, program, ctx, head, space!, tiles, cost);
}

const lastReduced = ({ space, reduced }: LoopGroup): boolean =>
  reduced[space.findLastIndex((size) => size !== 1)] ?? true;

function blockOf({ blockSlots, wide }: Program, most: number): number {
  const fits = CACHE_BYTES / (Math.max(1, blockSlots) * (wide ? 8 : 4));
  let block = LEAST_ELEMENTS;
  while (block * 2 <= Math.min(fits, most)) block *= 2;
  return block;
}

/** The program of a loop, with code for its stretches where it is large enough and code can be made. */
function makeProgram(
  group: LoopGroup,
  size: number,
  ctx: EmitContext,
): { program: Program; codes: ReadonlyMap<StretchLine, number> } {
  const program = buildProgram(group, size >= CODE_WORTH.elements);
  const codes = makeCode(group, program, ctx);
  return codes ? { program, codes } : { program: buildProgram(group, false), codes: new Map() };
}

/** The code of every stretch of a program, or null if there is one for which none can be made. */
function makeCode(group: LoopGroup, program: Program, ctx: EmitContext): Map<StretchLine, number> | null {
  const codes = new Map<StretchLine, number>();
  const steps = stepsOfRegisters(group, program);
  for (const { stretch } of program.lines) {
    if (!stretch) continue;
    const number = ctx.code({
      inputs: stretch.inputs.map((r) => ({ slot: r.slot, step: steps.get(r) ?? "same" })),
      steps: stretch.steps,
      outputs: stretch.outputs.map(({ number }) => number),
    });
    if (number === null) return null;
    codes.set(stretch, number);
  }
  return codes;
}

/** Which registers surely have a number per element, and which may be the same in a whole block. Constants are not listed. */
function stepsOfRegisters(group: LoopGroup, { lines }: Program): Map<Register, "row" | "either"> {
  const steps = new Map<Register, "row" | "either">();
  for (const { op, target, sources, load, flags, stretch } of lines) {
    for (const { register } of stretch?.outputs ?? []) steps.set(register, "row");
    if (!target) continue;
    const from = op === LoopOp.Load ? group.loads[load]! : null;
    const varies = from
      ? from.kind !== "value" || mergeAxes(group.space, from.strides).at(-1)?.[1] !== 0
      : sources.some((s) => steps.get(s) === "row");
    steps.set(target, varies || (flags & at.FLAG_FULL) !== 0 ? "row" : "either");
  }
  return steps;
}

/** Program, constants, stores: the first words of the arguments. */
function programWords(
  group: LoopGroup,
  program: Program,
  codes: ReadonlyMap<StretchLine, number>,
  tiled: readonly number[],
  ctx: EmitContext,
): ArgWord[] {
  const slot = (register: { slot: number } | undefined) => (register ? register.slot : 0) * at.SLOT_BYTES;
  const code: ArgWord[] = [];
  for (const line of program.lines) {
    const { op, target, sources, load, store, flags, stretch } = line;
    if (stretch) {
      const outputs = stretch.outputs.flatMap(({ register, line }) => [slot(register), line.store, 0]);
      code.push(op, codes.get(stretch)!, ctx.data(outputs), stretch.outputs.length, 0, 0, 0, 0);
    } else if (op === LoopOp.Load) {
      const tile = tiled.indexOf(load);
      const handed = isHanded(group.loads[load]!);
      code.push(
        op,
        slot(target!),
        handed ? 0 : loadEntry(group, load, ctx),
        Math.max(0, tile),
        0,
        0,
        store,
        flags | (tile >= 0 ? at.FLAG_TILE : 0) | (handed ? at.FLAG_PRODUCT : 0),
      );
    } else if (op === LoopOp.Store) code.push(op, slot(sources[0]), 0, 0, 0, 0, store, flags);
    // Slot 0 holds zeros and stands for the sources that an operation does not have.
    else code.push(op, slot(target!), ...[0, 1, 2, 3].map((i) => slot(sources[i])), store, flags);
  }
  const constants = program.constants.flatMap((register): ArgWord[] => {
    const load = group.loads[register.constant!];
    if (load?.kind !== "scalar") return [slot(register), 0, at.CONST_ZERO];
    return [slot(register), ctx.scalar(load.slot), load.dtype === "bool" ? 0 : load.dtype === "f64" ? 8 : 7];
  });
  const stores = group.stores.flatMap(({ value }): ArgWord[] => [ctx.pointer(value), DTYPE_IDS[value.dtype]]);
  return [
    ctx.data(code),
    program.lines.length,
    ctx.data(constants),
    program.constants.length,
    ctx.data(stores.length ? stores : [0]),
  ];
}

/** Whether a load is what a kernel hands to its epilogue. */
const isHanded = (load: Load): boolean => load.kind === "value" && load.value.home.kind === "none";

/** Address, dtype and the axes of a load, merged where its strides allow. */
function loadEntry(group: LoopGroup, number: number, ctx: EmitContext): Fixup {
  const load = group.loads[number]!;
  if (load.kind === "scalar") return bug(`${group.name} loads a scalar`);
  const axes = mergeAxes(group.space, load.strides);
  if (axes.length === 0) axes.push([1, load.kind === "value" && dtypeBytes(load.value.dtype) >= 4 ? 1 : 0]);
  const from =
    load.kind === "value" ? ctx.pointer(load.value, load.offset * dtypeBytes(load.value.dtype)) : load.offset;
  return ctx.data([from, loadKind(load, DTYPE_IDS), axes.length, ...axes.flat()]);
}

/** The result of a reduction of no integers; floats are known to the kernel. */
function startWord(op: ReduceOp, dtype: DType): number {
  if (op === "sum") return 0;
  if (op === "prod") return 1;
  const bits = dtypeBytes(dtype) * 8;
  const unsigned = dtype === "u32" || dtype === "u8" || dtype === "bool";
  if (op === "max") return unsigned ? 0 : -(2 ** (bits - 1));
  return (unsigned ? 2 ** bits : 2 ** (bits - 1)) - 1;
}

const tableOf = (list: readonly (readonly [number, number])[], ctx: EmitContext): ArgWord =>
  ctx.data(list.length ? list.flat() : [0]);

function emitReductions(
  group: LoopGroup,
  program: Program,
  ctx: EmitContext,
  head: readonly ArgWord[],
  space: ReducedSpace,
  tileBytes: number,
  cost: number,
): void {
  const { pieces } = space;
  const results = group.reductions[0]!.value.size;
  const partials = group.reductions.map(() => (pieces > 1 ? ctx.workspace(results * pieces * 8) : null));
  const entries = group.reductions.flatMap((r, i): ArgWord[] => [
    REDUCE_IDS[r.op],
    CLASS_IDS[classOf(r.dtype)],
    program.reduced[i]!.slot * at.SLOT_BYTES,
    partials[i] ?? ctx.pointer(r.value),
    DTYPE_IDS[r.value.dtype],
    startWord(r.op, r.dtype),
  ]);
  ctx.command(
    at.LOOP_RUN,
    [
      ...head,
      space.rows ? at.MODE_ROWS : at.MODE_COLUMNS,
      ctx.data(entries),
      group.reductions.length,
      pieces,
      space.piece,
      tableOf(space.kept, ctx),
      space.kept.length,
      space.keptSize,
      tableOf(space.reduced, ctx),
      space.reduced.length,
      space.reducedSize,
      space.innerReduced,
      space.innerKept,
      space.together,
      space.run,
      Number(space.groupKept),
      tileBytes,
    ],
    chunksFor(cost, space.items),
  );
  if (pieces > 1) emitCombine(group, ctx, partials, results, pieces);
}

function emitCombine(
  group: LoopGroup,
  ctx: EmitContext,
  partials: readonly (Fixup | null)[],
  results: number,
  parts: number,
): void {
  const entries = group.reductions.flatMap((r, i): ArgWord[] => [
    REDUCE_IDS[r.op],
    CLASS_IDS[classOf(r.dtype)],
    partials[i] ?? 0,
    ctx.pointer(r.value),
    DTYPE_IDS[r.value.dtype],
    startWord(r.op, r.dtype),
  ]);
  ctx.command(at.LOOP_COMBINE, [ctx.data(entries), group.reductions.length, results, parts], 1);
}

/** Nothing to map; reductions of nothing give 0, 1 or the extremes. */
function emitEmpty(group: LoopGroup, ctx: EmitContext): void {
  const results = group.reductions[0]?.value.size ?? 0;
  if (results > 0) {
    emitCombine(
      group,
      ctx,
      group.reductions.map(() => null),
      results,
      0,
    );
  }
}

/** Rough nanoseconds per element in the caches of a core: 0.02 per byte moved, more for what is computed. */
function costOf(group: LoopGroup, { lines }: Program): number {
  let cost = 0.05;
  for (const load of group.loads) if (load.kind === "value") cost += 0.02 * dtypeBytes(load.value.dtype);
  for (const { value } of group.stores) cost += 0.02 * dtypeBytes(value.dtype);
  for (const { op, stretch } of lines) {
    if (stretch) cost += 0.03 * stretch.steps.length;
    else if (op >= LoopOp.AddD) cost += op <= LoopOp.MinD ? 0.2 : 5;
    else if (op === LoopOp.PowF || op === LoopOp.Threefry || op === LoopOp.ErfinvF) cost += 3;
    else if (op >= LoopOp.ExpF && op <= LoopOp.ErfF) cost += 1;
    else cost += 0.05;
  }
  return cost;
}

/** Parts of at least some 20 µs each, in even numbers of units of work. */
const chunksFor = (nanoseconds: number, units: number): number =>
  Math.max(1, Math.min(64, units, Math.floor(nanoseconds / 20_000)));
