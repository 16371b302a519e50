import { DeviceError } from "@lowrank/tensor/backend";

/** What WebGPU says of a call that it did not carry out; kinds in the order of their scopes. */
const KINDS = ["out-of-memory", "validation"] as const;

/**
 * What goes wrong on a device. WebGPU tells of it later than the call returns, and of a lost device at promises that may
 * never settle: here both become errors at those who wait.
 */
export class Faults {
  private reason: DeviceError | null = null;
  private readonly scopes = new Set<Promise<void>>();
  private readonly waiting = new Set<(reason: DeviceError) => void>();
  private tellLost: (reason: DeviceError) => void = () => {};
  /** Resolves with the reason when nothing works any more, unless that is because the backend was disposed. */
  readonly lost = new Promise<DeviceError>((resolve) => {
    this.tellLost = resolve;
  });

  /** @param listen whether errors that no scope catches are ours, which they are on a device of our own */
  constructor(
    private readonly device: GPUDevice,
    listen: boolean,
  ) {
    void device.lost.then(({ reason, message }) => {
      this.fail(
        new DeviceError({
          where: "webgpu",
          expected: "a device that is there",
          got: reason === "destroyed" ? "one that was destroyed" : `a lost one (${message})`,
          hint: "make a new backend with await webgpu() and load the last checkpoint",
        }),
      );
    });
    if (!listen) return;
    device.addEventListener("uncapturederror", (event) =>
      this.refused("a command", (event as GPUUncapturedErrorEvent).error),
    );
  }

  /** From now on everything ends in this error: what waits, and what is asked for later. */
  fail(reason: DeviceError, told = true): void {
    if (this.reason) return;
    this.reason = reason;
    if (told) this.tellLost(reason);
    for (const reject of this.waiting) reject(reason);
    this.waiting.clear();
  }

  /** The device has refused a command after numbers that depend on it were promised: nothing can be trusted from here. */
  refused(what: string, error: GPUError): void {
    const memory = isOutOfMemory(error);
    this.fail(
      new DeviceError({
        where: `${what} on webgpu`,
        expected: memory ? "enough memory for the commands" : "commands that this device takes",
        got: error.message.trim() || "a refusal",
        hint: memory
          ? "use a smaller batch, make a new backend and load the last checkpoint"
          : "this is a bug of ours: please report it with the name of the GPU; a new backend can load the last checkpoint",
      }),
    );
  }

  expectAlive(): void {
    if (this.reason) throw this.reason;
  }

  /** Runs calls of the device; `told` learns later of the first that was refused, or that none was. */
  watch<T>(calls: () => T, told: (error: GPUError | null) => void | Promise<void>): T {
    for (const kind of KINDS) this.device.pushErrorScope(kind);
    try {
      return calls();
    } finally {
      // A lost device refuses to tell: `lost` does.
      const scopes = KINDS.map(() => this.device.popErrorScope().catch(() => null));
      const all: Promise<void> = Promise.all(scopes)
        .then((errors) => told(errors.find((e) => e) ?? null))
        .finally(() => this.scopes.delete(all));
      this.scopes.add(all);
    }
  }

  /**
   * Waits until the outcome of every call so far is known.
   *
   * @throws DeviceError if one of them was refused
   */
  async settled(): Promise<void> {
    if (this.scopes.size > 0) await this.orFailed(Promise.all(this.scopes));
    this.expectAlive();
  }

  /** A promise of the device, or the reason why it will never come. */
  orFailed<T>(promise: Promise<T>): Promise<T> {
    if (this.reason) {
      promise.catch(() => {}); // nobody waits for it
      return Promise.reject(this.reason);
    }
    // Not a race with `device.lost`: that would hold every result until the device goes.
    return new Promise<T>((resolve, reject) => {
      this.waiting.add(reject);
      promise
        .then(resolve, (cause) => reject(this.reason ?? cause))
        .finally(() => this.waiting.delete(reject));
    });
  }
}

/** Told by name: a device given by the caller may come from another WebGPU than the global one. */
export const isOutOfMemory = (error: GPUError): boolean => error.constructor.name === "GPUOutOfMemoryError";
