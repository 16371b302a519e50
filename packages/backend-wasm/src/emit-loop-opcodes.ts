import { bug, type DType, type Instr } from "@lowrank/tensor/backend";
import { LoopOp } from "../assembly/loop-ops.js";

/** How a dtype lies in block registers: f32, f64, signed and unsigned 32-bit integers, masks. */
export type RegisterClass = "F" | "D" | "I" | "U" | "B";

export function classOf(dtype: DType): RegisterClass {
  switch (dtype) {
    case "f64":
      return "D";
    case "u32":
      return "U";
    case "i32":
    case "i8":
    case "u8":
      return "I";
    case "bool":
      return "B";
    default:
      return "F";
  }
}

/** One operation of the interpreter: its sources are those of the instruction by number, or the zeros. */
export interface Step {
  readonly op: LoopOp;
  /** Numbers of sources of the instruction; "last" is the result of the step before, "zero" the constant. */
  readonly sources: readonly (number | "last" | "zero")[];
}

const opcode = (name: string): LoopOp | undefined => LoopOp[name as keyof typeof LoopOp];

const NAMES: Record<string, string> = {
  add: "Add",
  sub: "Sub",
  mul: "Mul",
  div: "Div",
  pow: "Pow",
  maximum: "Max",
  minimum: "Min",
  remainder: "Rem",
  atan2: "Atan2",
  neg: "Neg",
  abs: "Abs",
  sign: "Sign",
  floor: "Floor",
  ceil: "Ceil",
  trunc: "Trunc",
  round: "Round",
  sqrt: "Sqrt",
  rsqrt: "Rsqrt",
  reciprocal: "Recip",
  exp: "Exp",
  expm1: "Expm1",
  log: "Log",
  log1p: "Log1p",
  sin: "Sin",
  cos: "Cos",
  tan: "Tan",
  asin: "Asin",
  acos: "Acos",
  atan: "Atan",
  sinh: "Sinh",
  cosh: "Cosh",
  tanh: "Tanh",
  sigmoid: "Sigmoid",
  erf: "Erf",
  erfinv: "Erfinv",
};

/** Operations on the same bits for signed, unsigned and mask registers. */
const BITS: Record<string, LoopOp> = {
  and: LoopOp.And,
  or: LoopOp.Or,
  xor: LoopOp.Xor,
  not: LoopOp.Not,
  shiftLeft: LoopOp.Shl,
};

/** Unsigned integers share these with signed ones. */
const SIGNLESS = new Set(["Add", "Sub", "Mul", "Neg", "Eq", "Ne"]);

/** Results that are exact in the dtype of the operands, so that half types need no rounding and bytes no wrapping. */
const EXACT = new Set([
  "maximum",
  "minimum",
  "where",
  "sign",
  "and",
  "or",
  "xor",
  "shiftRight",
  "floor",
  "ceil",
  "trunc",
  "round",
]);

/** [comparison, operands swapped, its name in the interpreter] */
const COMPARISONS: Record<string, readonly [string, boolean]> = {
  eq: ["Eq", false],
  ne: ["Ne", false],
  lt: ["Lt", false],
  le: ["Le", false],
  gt: ["Lt", true],
  ge: ["Le", true],
};

/** The steps of an instruction. None: the result is the first source as it is. */
export function stepsOf(instr: Instr): readonly Step[] {
  const { op, dtype, sourceDtypes } = instr;
  if (op.name === "cast") return castSteps(sourceDtypes[0]!, dtype);
  const from = classOf(sourceDtypes[0] ?? dtype);
  const comparison = COMPARISONS[op.name];
  if (comparison) {
    const [name, swapped] = comparison;
    return [{ op: byClass(name, from), sources: swapped ? [1, 0] : [0, 1] }];
  }
  if (op.name === "where") {
    const wide = dtype === "f64";
    return [{ op: wide ? LoopOp.WhereD : LoopOp.Where, sources: [0, 1, 2] }];
  }
  if (op.name === "threefry") return [{ op: LoopOp.Threefry, sources: [0, 1, 2, 3] }];
  const sources = instr.sources.map((_, i) => i);
  if (op.name === "shiftRight") {
    return [{ op: from === "U" ? LoopOp.ShrU : LoopOp.ShrI, sources }];
  }
  if (op.name === "abs" && from === "U") return [];
  const main = BITS[op.name] ?? byClass(NAMES[op.name] ?? op.name, from);
  const steps: Step[] = [{ op: main, sources }];
  if (!EXACT.has(op.name)) {
    const fix = roundingOf(dtype);
    if (fix !== undefined) steps.push({ op: fix, sources: ["last"] });
  }
  return steps;
}

/** What brings a register of a dtype's class to values that the dtype has. */
export function roundingOf(dtype: DType): LoopOp | undefined {
  switch (dtype) {
    case "f16":
      return LoopOp.RoundF16;
    case "bf16":
      return LoopOp.RoundBf16;
    case "i8":
      return LoopOp.Wrap8I;
    case "u8":
      return LoopOp.Wrap8U;
    default:
      return undefined;
  }
}

function byClass(name: string, kind: RegisterClass): LoopOp {
  let suffix: string = kind;
  if (kind === "B")
    suffix = name === "Eq" || name === "Ne" ? "I" : "U"; // true is the larger mask
  else if (kind === "U" && SIGNLESS.has(name)) suffix = "I";
  return opcode(name + suffix) ?? bug(`the wasm loop has no ${name} on ${kind} registers`);
}

function castSteps(from: DType, to: DType): readonly Step[] {
  const [a, b] = [classOf(from), classOf(to)];
  const steps: Step[] = [];
  const step = (op: LoopOp) => steps.push({ op, sources: [steps.length ? "last" : 0] });
  if (b === "B") {
    if (a !== "B") return [{ op: byClass("Ne", a), sources: [0, "zero"] }];
    return [];
  }
  if (b === "F" || b === "D") {
    if (a === "D" && b === "F") step(LoopOp.DtoF);
    else if (a !== b) {
      const target = a === "F" ? "FtoD" : `${a}to${b}`;
      step(opcode(target) ?? bug(`the wasm loop has no ${target}`));
    }
    const exact = from === to || a === "B" || (a === "I" && (from === "i8" || from === "u8") && to === "f16");
    const fix = b === "F" && !exact ? roundingOf(to) : undefined;
    if (fix !== undefined) step(fix);
    return steps;
  }
  if (a === "B") {
    step(LoopOp.BtoI);
  } else if (a === "F" || a === "D") {
    step(to === "u32" ? (a === "F" ? LoopOp.FtoU : LoopOp.DtoU) : a === "F" ? LoopOp.FtoI : LoopOp.DtoI);
    if (to === "i8") step(LoopOp.Clamp8I);
    if (to === "u8") step(LoopOp.Clamp8U);
  } else if (from !== to && (to === "i8" || to === "u8")) {
    step(to === "i8" ? LoopOp.Wrap8I : LoopOp.Wrap8U);
  }
  return steps;
}
