export interface BudgetOptions {
  /** Steps if there is time for all. */
  steps: number;
  /** Highest learning rate. */
  peak: number;
  /** Time for training. */
  seconds: number;
}

const WARMUP = 10;
/** Learning rate at the end, as a part of the highest. */
const FINAL = 0.1;

/**
 * A training run that fits into its time on any machine. The learning rate rises, then falls along half a cosine over
 * the steps or over the time, whichever is used up faster: on a slow machine the run is shorter but ends as it should.
 */
export class Budget {
  private readonly controller = new AbortController();
  private spentMs = 0;
  private longestMs = 0;
  private done = 0;

  constructor(private readonly options: BudgetOptions) {}

  /** Aborted when another step might not fit. */
  get signal(): AbortSignal {
    return this.controller.signal;
  }

  /** Learning rate after a number of steps. */
  readonly lr = (step: number): number => {
    const { steps, peak, seconds } = this.options;
    const warmup = Math.min(WARMUP, steps);
    if (step < warmup) return (peak * (step + 1)) / warmup;
    const share = Math.max((step - warmup) / (steps - warmup), this.spentMs / (1000 * seconds));
    const cosine = (1 + Math.cos(Math.PI * Math.min(share, 1))) / 2;
    return peak * (FINAL + (1 - FINAL) * cosine);
  };

  /** Takes note of a step's time. */
  spend(ms: number): void {
    this.spentMs += ms;
    this.done++;
    // The first step also makes the plan.
    if (this.done > 1) this.longestMs = Math.max(this.longestMs, ms);
    if (this.spentMs + this.longestMs > 1000 * this.options.seconds) this.controller.abort();
  }

  /** Time to the end of training, estimated. */
  secondsLeft(step: number): number {
    const { steps, seconds } = this.options;
    return (
      Math.max(0, Math.min(((steps - step) * this.spentMs) / this.done, 1000 * seconds - this.spentMs)) / 1000
    );
  }
}
