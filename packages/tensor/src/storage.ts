import type { Backend, DeviceBuffer } from "./device.js";
import { type DType, dtypeBytes, type HostArray, hostView } from "./dtype.js";
import { DeviceError } from "./errors.js";

/** Frees device memory of storages that a program let go of without `dispose`: a net, not the plan. */
const registry = /* @__PURE__ */ new FinalizationRegistry<{ backend: Backend; buffer: DeviceBuffer }>(
  ({ backend, buffer }) => backend.free(buffer),
);

/** The numbers of a stored tensor: on the host, on a device, or both. */
export class Storage {
  host: HostArray | null;
  backend: Backend | null = null;
  buffer: DeviceBuffer | null = null;
  disposed = false;
  /** How many plans have read the host numbers. */
  uses = 0;

  constructor(
    readonly dtype: DType,
    readonly size: number,
    host: HostArray | null,
  ) {
    this.host = host;
  }

  get bytes(): number {
    return this.size * dtypeBytes(this.dtype);
  }

  /** Takes ownership of a device buffer. */
  own(backend: Backend, buffer: DeviceBuffer): void {
    this.backend = backend;
    this.buffer = buffer;
    registry.register(this, { backend, buffer }, this);
  }

  /** Takes the numbers out of a device buffer, and gives that back. */
  async move(backend: Backend, buffer: DeviceBuffer): Promise<this> {
    try {
      this.host = hostView(this.dtype, await backend.read(buffer, this.bytes), 0, this.size);
    } finally {
      backend.free(buffer);
    }
    return this;
  }

  /** Gives the device buffer back at once. */
  releaseDevice(): void {
    if (this.backend && this.buffer) {
      registry.unregister(this);
      this.backend.free(this.buffer);
    }
    this.backend = null;
    this.buffer = null;
  }

  /** The device buffer on `backend`, uploading a host value the first time. */
  onDevice(backend: Backend): DeviceBuffer {
    this.expectAlive();
    if (this.buffer && this.backend === backend) return this.buffer;
    if (!this.host) {
      throw new DeviceError({
        where: "evaluate",
        expected: `a tensor on ${backend.name}`,
        got: `one on ${this.backend?.name ?? "no device"}`,
        hint: "read it with await t.data() and make it anew with tensor(...)",
      });
    }
    this.releaseDevice();
    const buffer = backend.allocate(Math.max(1, this.bytes));
    backend.write(buffer, this.host);
    this.own(backend, buffer);
    return buffer;
  }

  /** The numbers on the host. */
  async read(): Promise<HostArray> {
    this.expectAlive();
    if (this.host) return this.host;
    const bytes = await this.backend!.read(this.buffer!, this.bytes);
    return hostView(this.dtype, bytes, 0, this.size);
  }

  dispose(): void {
    this.releaseDevice();
    this.host = null;
    this.disposed = true;
  }

  private expectAlive(): void {
    if (this.disposed) {
      throw new DeviceError({ where: "tensor", expected: "a live tensor", got: "one that was disposed" });
    }
  }
}
