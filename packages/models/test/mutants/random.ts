export { randomNumbers } from "../safetensors-mutator.js";

/** One of them. */
export const pick = <T>(random: () => number, from: readonly T[]): T =>
  from[Math.floor(random() * from.length)] as T;

export const upTo = (random: () => number, n: number): number => Math.floor(random() * n);
