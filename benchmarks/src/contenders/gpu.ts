import { globals } from "webgpu";
import type { Counts } from "../protocol.js";

type Method = (this: unknown, ...args: unknown[]) => unknown;

/** Puts `wrap` around a method of all objects of a WebGPU class; what is returned takes it away. */
function around(type: string, name: string, wrap: (method: Method) => Method): () => void {
  const { prototype } = (globals as Record<string, { prototype: Record<string, Method> }>)[type]!;
  const method = prototype[name]!;
  prototype[name] = wrap(method);
  return () => {
    prototype[name] = method;
  };
}

let device: GPUDevice | null = null;
around(
  "GPUAdapter",
  "requestDevice",
  (method) =>
    async function (...args) {
      device = (await method.apply(this, args)) as GPUDevice;
      return device;
    },
);

/** The adapter of the device that the library asked for. */
export function adapterName(): string {
  if (!device) throw new Error("the library has asked for no device");
  const { vendor, architecture, device: model, description } = device.adapterInfo;
  return [vendor, architecture, model, description].filter(Boolean).join(", ");
}

/** What a run asks of the device, by wrapped methods: only during that run. */
export async function countCalls(run: () => Promise<void>): Promise<Counts> {
  const counts: Counts = {
    dispatches: 0,
    passes: 0,
    submits: 0,
    bind_groups: 0,
    buffers: 0,
    writes: 0,
    reads: 0,
  };
  const counted: [type: string, name: string, as: keyof Counts][] = [
    ["GPUComputePassEncoder", "dispatchWorkgroups", "dispatches"],
    ["GPUComputePassEncoder", "dispatchWorkgroupsIndirect", "dispatches"],
    ["GPUCommandEncoder", "beginComputePass", "passes"],
    ["GPUQueue", "submit", "submits"],
    ["GPUDevice", "createBindGroup", "bind_groups"],
    ["GPUDevice", "createBuffer", "buffers"],
    ["GPUQueue", "writeBuffer", "writes"],
    ["GPUBuffer", "mapAsync", "reads"],
  ];
  const restore = counted.map(([type, name, as]) =>
    around(
      type,
      name,
      (method) =>
        function (...args) {
          counts[as]++;
          return method.apply(this, args);
        },
    ),
  );
  try {
    await run();
  } finally {
    for (const undo of restore) undo();
  }
  return counts;
}
