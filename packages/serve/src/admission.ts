import { HttpError } from "./http-error.js";

/** How many requests are let in: a limit of those under way and waiting, and an end that waits for them. */
export class Admission {
  private readonly inside = new Set<(reason: Error) => void>();
  /** Mean of the time that requests took, in seconds. */
  private pace = 1;
  private closing = false;
  private idle: () => void = () => {};
  private drained: Promise<void> | null = null;

  /**
   * @param slots Requests under way at once.
   * @param queue Requests that wait beside those.
   */
  constructor(
    private readonly slots: number,
    private readonly queue: number,
  ) {}

  get draining(): boolean {
    return this.closing;
  }

  /**
   * Refuses a request that there is no room for.
   *
   * @throws HttpError 429 if the queue is full, 503 while the server ends.
   */
  expectRoom(): void {
    if (this.closing) throw new HttpError(503, "shutting_down", "the server is about to end", null, 10);
    const { slots, queue } = this;
    if (this.inside.size < slots + queue) return;
    const seconds = Math.ceil((this.pace * (queue + 1)) / slots);
    throw new HttpError(
      429,
      "queue_full",
      `${slots} requests are under way and ${queue} wait; try again later`,
      null,
      Math.min(60, Math.max(1, seconds)),
    );
  }

  /**
   * Lets a request in.
   *
   * @param cancel Ends it early; a function of its own.
   * @returns what is to be called when it has ended.
   * @throws HttpError as `expectRoom`.
   */
  enter(cancel: (reason: Error) => void): () => void {
    this.expectRoom();
    const began = performance.now();
    this.inside.add(cancel);
    return () => {
      if (!this.inside.delete(cancel)) return;
      this.pace += 0.2 * ((performance.now() - began) / 1000 - this.pace);
      if (this.inside.size === 0) this.idle();
    };
  }

  /**
   * Lets no more requests in and waits for those under way.
   *
   * @param graceMs Milliseconds after which they are ended.
   */
  async drain(graceMs: number): Promise<void> {
    this.closing = true;
    if (this.inside.size === 0) return;
    const timer = setTimeout(() => {
      for (const cancel of this.inside) cancel(new HttpError(503, "shutting_down", "the server has ended"));
    }, graceMs);
    this.drained ??= new Promise((resolve) => {
      this.idle = resolve;
    });
    await this.drained;
    clearTimeout(timer);
  }
}
