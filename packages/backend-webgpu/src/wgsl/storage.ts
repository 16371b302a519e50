import { bug, type DType } from "@lowrank/tensor/backend";

/**
 * Memory in shaders. Every buffer is declared as `array<vec4<u32>>`: one binding may then hold values of several dtypes (in
 * place), whole vectors and single numbers are read from the same declaration, and narrow types share words.
 * An index counts elements of the dtype.
 */

/** Four elements from `index`, a multiple of 4, as a vector of the register class. */
export function loadFour(dtype: DType, name: string, index: string): string {
  switch (dtype) {
    case "f32":
      return `bitcast<vec4<f32>>(${name}[(${index}) >> 2u])`;
    case "i32":
      return `bitcast<vec4<i32>>(${name}[(${index}) >> 2u])`;
    case "u32":
      return `${name}[(${index}) >> 2u]`;
    case "f16":
    case "bf16":
      return `load_${dtype}(${name}[(${index}) >> 3u], ${index})`;
    case "u8":
      return `vec4<i32>(${bytes(name, index)} & vec4<u32>(255u))`;
    case "i8":
      return `wrap8i(bitcast<vec4<i32>>(${bytes(name, index)}))`;
    case "bool":
      return `((${bytes(name, index)} & vec4<u32>(255u)) != vec4<u32>(0u))`;
    default:
      return bug(`webgpu has no ${dtype}`);
  }
}

const bytes = (name: string, index: string): string =>
  `(vec4<u32>(${name}[(${index}) >> 4u][((${index}) >> 2u) & 3u]) >> vec4<u32>(0u, 8u, 16u, 24u))`;

/** One element as a scalar of the register class. */
export function loadOne(dtype: DType, name: string, index: string): string {
  switch (dtype) {
    case "f32":
      return `bitcast<f32>(${word(name, index)})`;
    case "i32":
      return `bitcast<i32>(${word(name, index)})`;
    case "u32":
      return word(name, index);
    case "f16":
      return `unpack2x16float(${half(name, index)}).x`;
    case "bf16":
      return `bitcast<f32>(${half(name, index)} << 16u)`;
    case "u8":
      return `i32(${byte(name, index)})`;
    case "i8":
      return `(bitcast<i32>(${byte(name, index)} << 24u) >> 24u)`;
    case "bool":
      return `(${byte(name, index)} != 0u)`;
    default:
      return bug(`webgpu has no ${dtype}`);
  }
}

const word = (name: string, index: string): string => `${name}[(${index}) >> 2u][(${index}) & 3u]`;
const half = (name: string, index: string): string =>
  `((${name}[(${index}) >> 3u][((${index}) >> 1u) & 3u] >> (((${index}) & 1u) * 16u)) & 0xffffu)`;
const byte = (name: string, index: string): string =>
  `((${name}[(${index}) >> 4u][((${index}) >> 2u) & 3u] >> (((${index}) & 3u) * 8u)) & 255u)`;

/** A statement that writes the vector `value` to four elements from `index`, a multiple of 4. */
export function storeFour(dtype: DType, name: string, index: string, value: string): string {
  switch (dtype) {
    case "f32":
    case "i32":
      return `${name}[(${index}) >> 2u] = bitcast<vec4<u32>>(${value});`;
    case "u32":
      return `${name}[(${index}) >> 2u] = ${value};`;
    case "f16":
    case "bf16": {
      const bits = `to_${dtype}(${value})`;
      return (
        `{ let h = ${bits}; let at = (${index}) >> 1u; ` +
        `${name}[at >> 2u][at & 3u] = h.x | (h.y << 16u); ${name}[at >> 2u][(at + 1u) & 3u] = h.z | (h.w << 16u); }`
      );
    }
    case "i8":
    case "u8":
      return packBytes(name, index, `(bitcast<vec4<u32>>(${value}) & vec4<u32>(255u))`);
    case "bool":
      return packBytes(name, index, `select(vec4<u32>(0u), vec4<u32>(1u), ${value})`);
    default:
      return bug(`webgpu has no ${dtype}`);
  }
}

const packBytes = (name: string, index: string, value: string): string =>
  `{ let h = ${value} << vec4<u32>(0u, 8u, 16u, 24u); let at = (${index}) >> 2u; ` +
  `${name}[at >> 2u][at & 3u] = h.x | h.y | h.z | h.w; }`;

/** A statement that writes one element of a 32-bit dtype. */
export function storeOne(dtype: DType, name: string, index: string, value: string): string {
  const bits = dtype === "u32" ? value : `bitcast<u32>(${value})`;
  if (dtype !== "f32" && dtype !== "i32" && dtype !== "u32") bug(`a single ${dtype} shares its word`);
  return `${name}[(${index}) >> 2u][(${index}) & 3u] = ${bits};`;
}

/** Whether elements of the dtype have words of their own. */
export const isWide = (dtype: DType): boolean => dtype === "f32" || dtype === "i32" || dtype === "u32";
