/**
 * Work in the order in which it was asked for: at once while nothing waits, behind what waits else. Without it a plan
 * whose shaders are still being compiled would be passed by the next one.
 */
export class Order {
  private tail: Promise<void> | null = null;

  /** Whether work would be done at once. */
  get idle(): boolean {
    return this.tail === null;
  }

  run<T>(work: () => T | Promise<T>): T | Promise<T> {
    const result = this.tail ? this.tail.then(work) : work();
    if (!(result instanceof Promise)) return result;
    const done = (): void => {
      if (this.tail === tail) this.tail = null;
    };
    const tail: Promise<void> = result.then(done, done);
    this.tail = tail;
    return result;
  }
}
