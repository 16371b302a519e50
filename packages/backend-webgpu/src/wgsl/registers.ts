import { bug, type DType } from "@lowrank/tensor/backend";

/** How a dtype lies in the registers of a shader: f32, i32, u32 or bool, named by the aliases that a shader declares. */
export type RegisterClass = "F" | "I" | "U" | "B";

export function classOf(dtype: DType): RegisterClass {
  switch (dtype) {
    case "f32":
    case "f16":
    case "bf16":
      return "F";
    case "i32":
    case "i8":
    case "u8":
      return "I";
    case "u32":
      return "U";
    case "bool":
      return "B";
    default:
      return bug(`webgpu has no ${dtype}`);
  }
}

/** Numbers that a shader works on at once. */
export type Width = 1 | 4;

export const aliases = (width: Width): string => {
  const type = (t: string) => (width === 4 ? `vec4<${t}>` : t);
  return `alias F = ${type("f32")};\nalias I = ${type("i32")};\nalias U = ${type("u32")};\nalias B = ${type("bool")};`;
};

const TYPES = { F: "f32", I: "i32", U: "u32", B: "bool" } as const;

/** The type of one element in the registers. */
export const scalarType = (dtype: DType): "f32" | "i32" | "u32" | "bool" => TYPES[classOf(dtype)];

/** The same as a word in memory, where bool has 0 and 1. */
export const wordType = (dtype: DType): "f32" | "i32" | "u32" => {
  const type = scalarType(dtype);
  return type === "bool" ? "u32" : type;
};

/** The value of a register of class `from` as class `to`, by the rules of `cast`; `dtype` is the target. */
export function castText(x: string, from: DType, dtype: DType): string {
  const [a, b] = [classOf(from), classOf(dtype)];
  if (b === "B") {
    if (a === "B") return x;
    return `(${x} != ${a}(0))`;
  }
  if (b === "F")
    return rounded(a === "F" ? x : a === "B" ? `select(F(0.0), F(1.0), ${x})` : `F(${x})`, dtype);
  if (a === "B") return b === "I" ? `select(I(0), I(1), ${x})` : `select(U(0u), U(1u), ${x})`;
  if (a === "F") {
    if (b === "U") return `f_to_u(${x})`;
    if (dtype === "i32") return `f_to_i(${x})`;
    const [low, high] = dtype === "i8" ? [-128, 127] : [0, 255];
    return `f_to_i(${clampText(x, low, high)})`;
  }
  if (a === b) return rounded(x, dtype);
  return rounded(`bitcast<${b}>(${x})`, dtype);
}

/** NaN goes through, to be made 0 by the conversion. */
function clampText(x: string, low: number, high: number): string {
  return `select(clamp(${x}, F(${low}.0), F(${high}.0)), ${x}, is_nan(${x}))`;
}

/** Brings a register to a value that the dtype has: halves round, bytes wrap. */
export function rounded(x: string, dtype: DType): string {
  switch (dtype) {
    case "f16":
      return `round_f16(${x})`;
    case "bf16":
      return `round_bf16(${x})`;
    case "i8":
      return `wrap8i(${x})`;
    case "u8":
      return `(${x} & I(255))`;
    default:
      return x;
  }
}
