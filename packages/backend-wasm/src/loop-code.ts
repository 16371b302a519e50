import { LoopOp, SLOT_BYTES } from "../assembly/loop-ops.js";

/** A register that is read or written by a stretch: its slot, and how its step is known. */
export interface CodeInput {
  readonly slot: number;
  /** "same": one number for all elements. "row": one per element. "either": told by the step in the slot. */
  readonly step: "same" | "row" | "either";
}

/** An operation: its sources are inputs, then results of operations before it, by number. */
export interface CodeStep {
  readonly op: LoopOp;
  readonly sources: readonly number[];
}

/** Operations on registers of 32 bits that follow each other in a loop. */
export interface Stretch {
  readonly inputs: readonly CodeInput[];
  readonly steps: readonly CodeStep[];
  /** Numbers of the registers that are written, in the order of their addresses. */
  readonly outputs: readonly number[];
}

/** The memory that the code imports. */
export interface CodeTarget {
  readonly shared: boolean;
  /** Multiply-add in one instruction. */
  readonly relaxed: boolean;
}

/** Elements from which code for a loop is worth making; tests set it. */
export const CODE_WORTH = { elements: 1 << 15 };

// Opcodes of WebAssembly, core specification 3.0, chapter 5.4. Those of vectors follow the byte 0xfd.
const [I32, V128] = [0x7f, 0x7b];
const [GET, SET] = [0x20, 0x21];
const VECTOR = 0xfd;
const [V_LOAD, V_STORE, V_CONST] = [0x00, 0x0b, 0x0c];
const [AND, OR, F_SQRT, F_ADD, F_MUL, F_DIV] = [0x4e, 0x50, 0xe3, 0xe4, 0xe6, 0xe7];
const RELAXED_MADD = 0x105;

/** Operations that are one instruction. */
const SIMPLE: { readonly [op in LoopOp]?: number } = {
  [LoopOp.AddF]: F_ADD,
  [LoopOp.SubF]: 0xe5,
  [LoopOp.MulF]: F_MUL,
  [LoopOp.DivF]: F_DIV,
  [LoopOp.MaxF]: 0xe9,
  [LoopOp.MinF]: 0xe8,
  [LoopOp.NegF]: 0xe1,
  [LoopOp.AbsF]: 0xe0,
  [LoopOp.FloorF]: 0x68,
  [LoopOp.CeilF]: 0x67,
  [LoopOp.TruncF]: 0x69,
  [LoopOp.RoundF]: 0x6a,
  [LoopOp.SqrtF]: F_SQRT,
  [LoopOp.EqF]: 0x41,
  [LoopOp.NeF]: 0x42,
  [LoopOp.LtF]: 0x43,
  [LoopOp.LeF]: 0x45,
  [LoopOp.AddI]: 0xae,
  [LoopOp.SubI]: 0xb1,
  [LoopOp.MulI]: 0xb5,
  [LoopOp.MinI]: 0xb6,
  [LoopOp.MinU]: 0xb7,
  [LoopOp.MaxI]: 0xb8,
  [LoopOp.MaxU]: 0xb9,
  [LoopOp.NegI]: 0xa1,
  [LoopOp.AbsI]: 0xa0,
  [LoopOp.EqI]: 0x37,
  [LoopOp.NeI]: 0x38,
  [LoopOp.LtI]: 0x39,
  [LoopOp.LtU]: 0x3a,
  [LoopOp.LeI]: 0x3d,
  [LoopOp.LeU]: 0x3e,
  [LoopOp.And]: AND,
  [LoopOp.Or]: OR,
  [LoopOp.Xor]: 0x51,
  [LoopOp.Not]: 0x4d,
  [LoopOp.FtoI]: 0xf8,
  [LoopOp.FtoU]: 0xf9,
  [LoopOp.ItoF]: 0xfa,
  [LoopOp.UtoF]: 0xfb,
};

const ONE_F = 0x3f800000;
/** Operations that are a constant in all lanes and some instructions. */
const SPECIAL = new Set([LoopOp.MaddF, LoopOp.Where, LoopOp.RsqrtF, LoopOp.RecipF, LoopOp.BtoF, LoopOp.BtoI]);

/** Whether an operation can be part of a stretch. */
export const isCodeable = (op: LoopOp): boolean => op in SIMPLE || SPECIAL.has(op);

const unsigned = (n: number): number[] => (n < 128 ? [n] : [(n & 127) | 128, ...unsigned(n >>> 7)]);
const vector = (op: number): number[] => [VECTOR, ...unsigned(op)];
const get = (local: number): number[] => [GET, ...unsigned(local)];
const set = (local: number): number[] => [SET, ...unsigned(local)];
/** An instruction on memory: alignment 2^2, which is a hint, and an offset. */
const at = (op: readonly number[], offset: number): number[] => [...op, 2, ...unsigned(offset)];
const sized = (bytes: readonly number[]): number[] => [...unsigned(bytes.length), ...bytes];
const section = (id: number, bytes: readonly number[]): number[] => [id, ...sized(bytes)];
const name = (text: string): number[] => sized([...text].map((c) => c.charCodeAt(0)));
const lanes = (word: number): number[] => [
  ...vector(V_CONST),
  ...[0, 1, 2, 3].flatMap(() => [word & 255, (word >> 8) & 255, (word >> 16) & 255, (word >> 24) & 255]),
];

const [I32_LOAD, I32_ADD, I32_LT_U] = [[0x28], 0x6a, 0x49];
const I32_CONST = 0x41;
const [LOOP, VOID, BR_IF, END] = [0x03, 0x40, 0x0d, 0x0b];

/** The sources are on the stack, the result is left there. */
function instructions({ op, sources }: CodeStep, local: (n: number) => number, relaxed: boolean): number[] {
  const [a, b, c] = sources.map((n) => get(local(n)));
  switch (op) {
    case LoopOp.MaddF:
      return relaxed
        ? [...a!, ...b!, ...c!, ...vector(RELAXED_MADD)]
        : [...a!, ...b!, ...vector(F_MUL), ...c!, ...vector(F_ADD)];
    case LoopOp.Where:
      return [...b!, ...c!, ...a!, ...vector(0x52)];
    case LoopOp.RsqrtF:
      return [...lanes(ONE_F), ...a!, ...vector(F_SQRT), ...vector(F_DIV)];
    case LoopOp.RecipF:
      return [...lanes(ONE_F), ...a!, ...vector(F_DIV)];
    case LoopOp.BtoF:
      return [...a!, ...lanes(ONE_F), ...vector(AND)];
    case LoopOp.BtoI:
      return [...a!, ...lanes(1), ...vector(AND)];
    default:
      return [...sources.flatMap((n) => get(local(n))), ...vector(SIMPLE[op]!)];
  }
}

/** Vectors of a turn of the loop; blocks are whole pairs. */
const UNROLL = 2;

/**
 * The module of a stretch. It imports the memory `m` of `e` and exports `f(slots, addresses, bytes)`: `slots` is the slot
 * table of the interpreter, `addresses` lists where the outputs go, `bytes` is 4 times the number of elements, a
 * multiple of 32. What is between two operations stays in machine registers.
 */
export function codeOf({ inputs, steps, outputs }: Stretch, { shared, relaxed }: CodeTarget): Uint8Array {
  const [SLOTS, ADDRESSES, LIMIT] = [0, 1, 2];
  let locals = 3;
  const pointers = inputs.map(({ step }) => (step === "same" ? -1 : locals++));
  const strides = inputs.map(({ step }) => (step === "either" ? locals++ : -1));
  const targets = outputs.map(() => locals++);
  const addresses = locals - 3;
  const local = (n: number) => locals + n;

  const body: number[] = [];
  inputs.forEach(({ slot, step }, i) => {
    body.push(...get(SLOTS), ...at(I32_LOAD, slot * SLOT_BYTES));
    body.push(...(step === "same" ? [...at(vector(V_LOAD), 0), ...set(local(i))] : set(pointers[i]!)));
    if (step === "either") {
      body.push(...get(SLOTS), ...at(I32_LOAD, slot * SLOT_BYTES + 4), ...set(strides[i]!));
    }
  });
  targets.forEach((target, i) => body.push(...get(ADDRESSES), ...at(I32_LOAD, 4 * i), ...set(target)));
  const first = targets[0]!;
  body.push(...get(first), ...get(LIMIT), I32_ADD, ...set(LIMIT), LOOP, VOID);
  for (let turn = 0; turn < UNROLL; turn++) {
    inputs.forEach(({ step }, i) => {
      const pointer = pointers[i]!;
      if (step === "row") body.push(...get(pointer), ...at(vector(V_LOAD), 16 * turn), ...set(local(i)));
      if (step === "either") {
        body.push(...get(pointer), ...at(vector(V_LOAD), 0), ...set(local(i)));
        body.push(...get(pointer), ...get(strides[i]!), I32_ADD, ...set(pointer));
      }
    });
    steps.forEach((step, i) =>
      body.push(...instructions(step, local, relaxed), ...set(local(inputs.length + i))),
    );
    outputs.forEach((n, i) =>
      body.push(...get(targets[i]!), ...get(local(n)), ...at(vector(V_STORE), 16 * turn)),
    );
  }
  const moved = [...pointers.filter((_, i) => inputs[i]!.step === "row"), ...targets];
  for (const pointer of moved) body.push(...get(pointer), I32_CONST, 16 * UNROLL, I32_ADD, ...set(pointer));
  body.push(...get(first), ...get(LIMIT), I32_LT_U, BR_IF, 0, END, END);

  const groups = [
    [addresses, I32],
    [inputs.length + steps.length, V128],
  ];
  const declared = groups.flatMap(([count, type]) => [...unsigned(count!), type!]);
  return Uint8Array.from([
    ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, [1, 0x60, 3, I32, I32, I32, 0]),
    ...section(2, [1, ...name("e"), ...name("m"), 2, ...(shared ? [3, 0, ...unsigned(65536)] : [0, 0])]),
    ...section(3, [1, 0]),
    ...section(7, [1, ...name("f"), 0, 0]),
    ...section(10, [1, ...sized([groups.length, ...declared, ...body])]),
  ]);
}
