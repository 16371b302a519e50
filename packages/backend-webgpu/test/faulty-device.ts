/** Calls of a device that a test takes over; each gets the true device, and the arguments. */
type Hooks = {
  [K in keyof GPUDevice]?: GPUDevice[K] extends (...args: infer A) => infer R
    ? (real: GPUDevice, ...args: A) => R
    : GPUDevice[K];
};

/** As Dawn and browsers name it; told apart by its name. */
class GPUOutOfMemoryError {
  readonly message = "not enough memory";
}

/** A device whose calls can be made to fail as those of a true one do: later, and through error scopes. */
export class FaultyDevice {
  readonly device: GPUDevice;
  /** Takes over calls; may be changed at any time. */
  hooks: Hooks = {};
  /** Whether a buffer of this size is refused for want of memory. */
  refuses: (size: number) => boolean = () => false;
  /** Calls so far, those of the queue included. */
  calls = 0;
  /** Called before each call with its number, from 1. */
  onCall: (call: number) => void = () => {};
  onSubmit: () => void = () => {};
  private readonly scopes: { filter: GPUErrorFilter; error: GPUOutOfMemoryError | null }[] = [];

  /** @param limits what the device says of itself in place of the truth */
  constructor(
    real: GPUDevice,
    private readonly limits: Partial<Record<keyof GPUSupportedLimits, number>> = {},
  ) {
    const queue = this.proxy(real.queue, (name) => name === "submit" || name === "writeBuffer");
    this.device = this.proxy(
      real,
      (name) => name.startsWith("create") || name === "pushErrorScope",
      (name) => {
        if (name === "queue") return queue;
        if (name === "limits") return this.limitsOf(real);
        if (name === "pushErrorScope") return (filter: GPUErrorFilter) => this.push(real, filter);
        if (name === "popErrorScope") return () => this.pop(real);
        if (name === "createBuffer")
          return (descriptor: GPUBufferDescriptor) => this.createBuffer(real, descriptor);
        return undefined;
      },
    );
  }

  private limitsOf(real: GPUDevice): GPUSupportedLimits {
    const { limits } = this;
    return new Proxy(real.limits, {
      get: (target, name) => limits[name as keyof GPUSupportedLimits] ?? Reflect.get(target, name, target),
    });
  }

  private createBuffer(real: GPUDevice, descriptor: GPUBufferDescriptor): GPUBuffer {
    if (!this.refuses(descriptor.size)) return real.createBuffer(descriptor);
    const scope = this.scopes.findLast(({ filter }) => filter === "out-of-memory");
    if (!scope) throw new Error("a buffer was made outside of a scope for memory");
    scope.error ??= new GPUOutOfMemoryError();
    return real.createBuffer({ ...descriptor, size: 4 }); // any use of it is a validation error
  }

  private push(real: GPUDevice, filter: GPUErrorFilter): undefined {
    this.scopes.push({ filter, error: null });
    real.pushErrorScope(filter);
  }

  private async pop(real: GPUDevice): Promise<GPUError | null> {
    const { error } = this.scopes.pop()!;
    return (await real.popErrorScope()) ?? error;
  }

  private proxy<T extends object>(
    real: T,
    counts: (name: string) => boolean,
    own: (name: string) => unknown = () => undefined,
  ): T {
    return new Proxy(real, {
      get: (target, key) => {
        const name = String(key);
        const hook = (this.hooks as Record<string, unknown>)[name];
        const value =
          typeof hook === "function"
            ? (...args: unknown[]) => (hook as (...a: unknown[]) => unknown)(target, ...args)
            : (own(name) ?? Reflect.get(target, key, target));
        if (typeof value !== "function") return value;
        return (...args: unknown[]) => {
          if (counts(name)) this.onCall(++this.calls);
          if (name === "submit") this.onSubmit();
          return (value as (...a: unknown[]) => unknown).apply(target, args);
        };
      },
    });
  }
}
