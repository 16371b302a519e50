import type { Check } from "./protocol.js";

const SAMPLED = 61;

/** An array in short: its root mean square, its mean, and elements spread over it. */
export function digest(values: ArrayLike<number>): Check {
  let [squares, sum] = [0, 0];
  for (let i = 0; i < values.length; i++) {
    squares += values[i]! * values[i]!;
    sum += values[i]!;
  }
  const rms = Math.sqrt(squares / values.length);
  const spread = Array.from(
    { length: SAMPLED },
    (_, k) => values[Math.floor((k * (values.length - 1)) / (SAMPLED - 1))]!,
  );
  // The mean of centred values is near zero: it is compared on the scale of the values.
  return { elements: [rms, sum / values.length, ...spread] };
}

/** What differs by more than the tolerance, relative to the root mean square of its part; null where nothing does. */
export function disagreement(got: Check, expected: Check, tolerance: number): string | null {
  const parts = new Set([...Object.keys(got), ...Object.keys(expected)]);
  for (const part of parts) {
    const [a, b] = [got[part], expected[part]];
    if (!a || !b || a.length !== b.length)
      return `${part} has ${a?.length ?? "no"} numbers where ${b?.length ?? "no"} are expected`;
    const scale = Math.sqrt(b.reduce((s, x) => s + x * x, 0) / b.length);
    for (const [i, x] of a.entries()) {
      const y = b[i]!;
      if (!(Math.abs(x - y) <= tolerance * Math.max(scale, Math.abs(y))))
        return `${part}[${i}] is ${x} where ${y} is expected`;
    }
  }
  return null;
}
