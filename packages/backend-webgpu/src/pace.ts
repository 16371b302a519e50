/** What a dispatch moves and computes. */
export interface Work {
  readonly bytes: number;
  readonly flops: number;
}

/** A GPU of which nothing is known yet: a slow one, so that the first submits are short. */
const BYTES_PER_MS = 1e7; // 10 GB/s
const FLOPS_PER_MS = 1e7; // 10 GFLOP/s
/** A dispatch that does nothing. */
const DISPATCH_MS = 0.005;
/** A submit that was expected to take less, and took less, tells of the way there and back only. */
const TELLING_MS = 4;
/** Submits in flight at most, however short. */
const MOST_FLIGHTS = 8;

interface Flight {
  readonly done: Promise<void>;
  readonly units: number;
  over: boolean;
}

/**
 * How much goes into one submit, and how far the host may be ahead. A submit can not be interrupted: a long one freezes
 * the page or trips the driver's watchdog. Its time is estimated from bytes and operations at the speed of earlier ones.
 */
export class Pace {
  /** Milliseconds for one of the slow GPU that the units are counted on. */
  private speed = 1;
  private readonly flights: Flight[] = [];
  private lastEnd = 0;

  /** @param submitMs the time that a submit should take at most */
  constructor(readonly submitMs: number) {}

  /** Milliseconds on a slow GPU. */
  static units({ bytes, flops }: Work): number {
    return DISPATCH_MS + Math.max(bytes / BYTES_PER_MS, flops / FLOPS_PER_MS);
  }

  /** Units that one submit may hold. */
  get most(): number {
    return this.submitMs / this.speed;
  }

  /** A submit was handed to the GPU; `done` resolves when it has been carried out. */
  left(units: number, done: Promise<unknown>): void {
    const began = performance.now();
    const flight: Flight = {
      units,
      over: false,
      done: done.then(
        () => {
          flight.over = true;
          const now = performance.now();
          this.learn(units, now - Math.max(began, this.lastEnd));
          this.lastEnd = now;
        },
        () => {
          flight.over = true;
        },
      ),
    };
    this.flights.push(flight);
  }

  /** What must be over before the next submit, or null: two full submits may wait, or a few more short ones. */
  turn(): Promise<void> | null {
    const { flights } = this;
    while (flights[0]?.over) flights.shift();
    const [first] = flights;
    if (!first || flights.length < 2) return null;
    const ahead = flights.reduce((sum, f) => sum + f.units, 0);
    return ahead >= this.most || flights.length >= MOST_FLIGHTS ? first.done : null;
  }

  private learn(units: number, ms: number): void {
    if (ms < TELLING_MS && units * this.speed < TELLING_MS) return;
    const seen = Math.max(ms, 0.05) / units;
    // A host that was busy saw the end too late: one measure moves the speed by a limited step.
    this.speed = Math.min(4 * this.speed, Math.max(this.speed / 4, seen));
  }
}
