/** What a dispatch moves and computes. */
export interface Work {
  readonly bytes: number;
  readonly flops: number;
}

/** A GPU of which nothing is known yet is taken for a slow one, so that the first submits are short. */
const BYTES_PER_MS = 1e7; // 10 GB/s
const FLOPS_PER_MS = 1e7; // 10 GFLOP/s
const DISPATCH_MS = 0.01;
/** A submit that was expected to take less, and took less, tells of the way there and back only. */
const TELLING_MS = 4;
/** A host that was busy saw the end too late: one measure moves the estimate by no more than this. */
const MOST_STEP = 4;
/** Submits in flight at most, however short. */
const MOST_FLIGHTS = 8;

interface Flight {
  readonly done: Promise<void>;
  readonly ms: number;
  over: boolean;
}

/**
 * How much goes into one submit, and how far the host may be ahead. A submit can not be interrupted: a long one freezes
 * the page or trips the driver's watchdog. Its time is estimated as dispatches · a + units · b, the work being counted in
 * milliseconds of a slow GPU; a and b follow what earlier submits took, each by its part of the estimate.
 */
export class Pace {
  /** Milliseconds for a dispatch that does nothing. */
  private dispatchMs = DISPATCH_MS;
  /** Milliseconds for a unit. */
  speed = 1;
  private readonly flights: Flight[] = [];
  private lastEnd = 0;

  /** @param submitMs the time that a submit should take at most */
  constructor(readonly submitMs: number) {}

  /** Milliseconds on a slow GPU. */
  static units({ bytes, flops }: Work): number {
    return Math.max(bytes / BYTES_PER_MS, flops / FLOPS_PER_MS);
  }

  /** The time that dispatches are expected to take. */
  ms(units: number, dispatches = 1): number {
    return dispatches * this.dispatchMs + units * this.speed;
  }

  /** A submit was handed to the GPU; `done` resolves when it has been carried out. */
  left(units: number, dispatches: number, done: Promise<unknown>): void {
    const began = performance.now();
    const flight: Flight = {
      ms: this.ms(units, dispatches),
      over: false,
      done: done.then(
        () => {
          flight.over = true;
          const now = performance.now();
          this.learn(units, dispatches, now - Math.max(began, this.lastEnd));
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
    const ahead = flights.reduce((sum, { ms }) => sum + ms, 0);
    return ahead >= this.submitMs || flights.length >= MOST_FLIGHTS ? first.done : null;
  }

  /** Dispatches with this work took so long. */
  learn(units: number, dispatches: number, ms: number): void {
    const expected = this.ms(units, dispatches);
    if (ms < TELLING_MS && expected < TELLING_MS) return;
    const ratio = Math.min(MOST_STEP, Math.max(1 / MOST_STEP, ms / expected));
    const share = (dispatches * this.dispatchMs) / expected;
    this.dispatchMs *= ratio ** share;
    this.speed *= ratio ** (1 - share);
  }
}
