import type { Module } from "@lowrank/nn";
import { tensor } from "@lowrank/tensor";
import { attach, type Attached, lora } from "../src/index.js";

/** Whole numbers from 0 to 2³² − 1 that depend on a seed and a place alone (murmur's finaliser). */
function hash(seed: number, i: number): number {
  let h = (i + Math.imul(seed, 0x9e3779b9)) | 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** LoRA on queries, keys, outputs and down projections; its numbers are exact, so that its file has the same bytes everywhere. */
export function seededAdapter<M extends Module>(model: M): Attached<M> {
  const targets = ["q_proj", "k_proj", "o_proj", "down_proj"];
  const attached = attach(model, lora, { rank: 4, alpha: 8 }, { targets });
  let seed = 0;
  for (const [, p] of attached.parameters()) {
    seed++;
    // Multiples of 2⁻¹⁶ up to 2⁻⁵ in both factors
    const values = Float32Array.from({ length: p.size }, (_, i) => ((hash(seed, i) % 4097) - 2048) / 2 ** 16);
    p.replace(tensor(values, { shape: p.shape }));
  }
  return attached;
}

/** Prompts whose continuations with and without the adapter are kept. */
export const PROMPTS = [
  "The capital of France is",
  "Call me Ishmael. Some years ago",
  "To bake bread you need flour, water,",
  "Once upon a time there was a",
];
export const NEW_TOKENS = 24;
