import { bug, type Instr } from "@lowrank/tensor/backend";
import { functionText } from "./math.js";
import { castText, classOf, rounded, type RegisterClass } from "./registers.js";

const INFIX: Record<string, string> = { add: "+", sub: "-", mul: "*" };
const COMPARE: Record<string, string> = { eq: "==", ne: "!=", lt: "<", le: "<=", gt: ">", ge: ">=" };
const BITS: Record<string, string> = { and: "&", or: "|", xor: "^" };
const BUILT_IN = new Set(["floor", "ceil", "trunc", "round", "sqrt", "abs"]);
/** Results that are exact in the dtype of the operands. */
const EXACT = new Set("maximum minimum where sign and or xor shiftRight floor ceil trunc round".split(" "));

/** The value of an element-wise instruction over the registers `x`. */
export function instructionText(instr: Instr, x: readonly string[]): string {
  const { op, dtype, sourceDtypes } = instr;
  if (op.name === "cast") return castText(x[0]!, sourceDtypes[0]!, dtype);
  const from = classOf(sourceDtypes[0] ?? dtype);
  const sign = COMPARE[op.name];
  if (sign) return comparison(x, from, sign);
  if (op.name === "where") return `select(${x[2]}, ${x[1]}, ${x[0]})`;
  if (op.name === "threefry") return `threefry(${x.join(", ")})`;
  const text = operation(op.name, from, x);
  return EXACT.has(op.name) ? text : rounded(text, dtype);
}

function comparison([a, b]: readonly string[], from: RegisterClass, sign: string): string {
  if (from !== "B" || sign === "==" || sign === "!=") return `(${a} ${sign} ${b})`;
  // true is the larger one
  const number = (v: string) => `select(U(0u), U(1u), ${v})`;
  return `(${number(a!)} ${sign} ${number(b!)})`;
}

function operation(name: string, from: RegisterClass, x: readonly string[]): string {
  const [a, b] = x as [string, string];
  if (name === "xor" && from === "B") return `(${a} != ${b})`;
  if (BITS[name]) return `(${a} ${BITS[name]} ${b})`;
  if (name === "not") return from === "B" ? `(!${a})` : `(~${a})`;
  if (INFIX[name]) return `(${a} ${INFIX[name]} ${b})`;
  if (name === "neg") return from === "U" ? `(U(0u) - ${a})` : `(-${a})`;
  if (from === "F") {
    if (name === "div") return `(${a} / ${b})`;
    if (name === "reciprocal") return `(1.0 / ${a})`;
    if (name === "rsqrt") return `(1.0 / sqrt(${a}))`;
    if (name === "relu") return `maximum_(${a}, F(0.0))`;
    if (BUILT_IN.has(name)) return `${name}(${a})`;
    if (functionText(`${name}_`)) return `${name}_(${x.join(", ")})`;
  }
  if (from === "B") {
    if (name === "maximum") return `(${a} | ${b})`;
    if (name === "minimum") return `(${a} & ${b})`;
  }
  if (from === "I" || from === "U") {
    const lower = from.toLowerCase();
    if (name === "div") return `div_${lower}(${a}, ${b})`;
    if (name === "remainder") return `remainder_${lower}(${a}, ${b})`;
    if (name === "maximum") return `max(${a}, ${b})`;
    if (name === "minimum") return `min(${a}, ${b})`;
    if (name === "abs") return from === "U" ? a : `abs(${a})`;
    if (name === "sign") return from === "I" ? `sign(${a})` : `min(${a}, U(1u))`;
    if (name === "shiftLeft") return `(${a} << (${asU(b, from)} & U(31u)))`;
    if (name === "shiftRight") return `(${a} >> (${asU(b, from)} & U(31u)))`;
  }
  return bug(`webgpu has no ${name} on ${from} registers`);
}

const asU = (x: string, from: RegisterClass): string => (from === "U" ? x : `bitcast<U>(${x})`);
