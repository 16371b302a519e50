import { ConfigError } from "@lowrank/tensor";

/** Learning rate as a function of the number of updates done before, from 0. */
export type Schedule = (step: number) => number;

export interface DecayOptions {
  /** Highest learning rate. */
  peak: number;
  /** Updates over which the rate rises in a straight line; the last of them has the peak. Default 0. */
  warmup?: number;
  /** Updates in all; afterwards the rate stays at `final`. */
  total: number;
  /** Rate at the end. Default 0. */
  final?: number;
}

/** The same rate always. */
export const constantSchedule =
  (lr: number): Schedule =>
  () =>
    lr;

/** Warm-up, then a straight line from `peak` to `final`. */
export const linearSchedule = (options: DecayOptions): Schedule =>
  decay("linearSchedule", options, (t) => 1 - t);

/**
 * Warm-up, then half a cosine from `peak` to `final`.
 *
 * Source: Loshchilov and Hutter 2016, arXiv:1608.03983, eq. (5), without restarts.
 */
export const cosineSchedule = (options: DecayOptions): Schedule =>
  decay("cosineSchedule", options, (t) => (1 + Math.cos(Math.PI * t)) / 2);

function decay(where: string, options: DecayOptions, curve: (progress: number) => number): Schedule {
  const { peak, warmup = 0, total, final = 0 } = options;
  const whole = (n: number): boolean => Number.isInteger(n) && n >= 0;
  if (!whole(warmup) || !whole(total) || warmup > total || !(peak >= 0) || !(final >= 0)) {
    throw new ConfigError({
      where,
      expected: "rates of at least 0 and integers 0 ≤ warmup ≤ total",
      got: `peak ${peak}, final ${final}, warmup ${warmup}, total ${total}`,
    });
  }
  return (step) => {
    if (step < warmup) return (peak * (step + 1)) / warmup; // the first update moves already
    if (step >= total) return final;
    return final + (peak - final) * curve((step - warmup) / (total - warmup));
  };
}
