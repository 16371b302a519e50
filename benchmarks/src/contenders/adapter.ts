import "./navigator-gpu.js";
import { adapterName } from "./gpu.js";
import { type Job, serve } from "../protocol.js";
import { FMA_CHAINS, FMA_STEPS, type ProbeSpec } from "../rows/probe.js";

const gpu = (globalThis.navigator as unknown as { gpu: GPU }).gpu;
const adapter = await gpu.requestAdapter({ powerPreference: "high-performance" });
if (!adapter) throw new Error("no WebGPU adapter: install a Vulkan, Metal or D3D12 driver");
const device = await adapter.requestDevice();
const WORKGROUP = 256;
/** A run is made so long that what it costs to submit and await it does not count. */
const LONG_MS = 30;

const COPY = `
@group(0) @binding(0) var<storage, read> from_: array<vec4u>;
@group(0) @binding(1) var<storage, read_write> to: array<vec4u>;
@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let threads = groups.x * ${WORKGROUP}u;
  for (var i = id.x; i < arrayLength(&from_); i += threads) { to[i] = from_[i]; }
}`;

const chains = Array.from({ length: FMA_CHAINS }, (_, i) => `a${i}`);
const FMA = `
@group(0) @binding(0) var<storage, read> from_: array<f32>;
@group(0) @binding(1) var<storage, read_write> to: array<f32>;
@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(global_invocation_id) id: vec3u) {
  let x = from_[0];
  let y = from_[1];
  ${chains.map((a, i) => `var ${a} = f32(id.x + ${i}u);`).join("\n  ")}
  for (var i = 0; i < ${FMA_STEPS}; i++) {
    ${chains.map((a) => `${a} = fma(${a}, x, y);`).join(" ")}
  }
  to[id.x] = ${chains.join(" + ")};
}`;

const buffer = (size: number): GPUBuffer =>
  device.createBuffer({
    size,
    usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST,
  });

async function probe({ what, size }: ProbeSpec): Promise<Job> {
  const bytes = what === "fma" ? 4 * size : size;
  const [from, to] = [buffer(bytes), buffer(bytes)];
  device.queue.writeBuffer(from, 0, new Float32Array(bytes / 4).fill(0.999));
  const groups = what === "fma" ? size / WORKGROUP : Math.min(65_535, size / 16 / WORKGROUP);
  const module = device.createShaderModule({ code: what === "fma" ? FMA : COPY });
  const pipeline = await device.createComputePipelineAsync({ layout: "auto", compute: { module } });
  const bindings = device.createBindGroup({
    layout: pipeline.getBindGroupLayout(0),
    entries: [from, to].map((b, binding) => ({ binding, resource: { buffer: b } })),
  });
  const submit = async (times: number): Promise<void> => {
    const encoder = device.createCommandEncoder();
    if (what === "copy") {
      for (let i = 0; i < times; i++) encoder.copyBufferToBuffer(from, 0, to, 0, bytes);
    } else {
      const pass = encoder.beginComputePass();
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, bindings);
      for (let i = 0; i < times; i++) pass.dispatchWorkgroups(groups);
      pass.end();
    }
    device.queue.submit([encoder.finish()]);
    await device.queue.onSubmittedWorkDone();
  };
  await submit(1); // memory is there and the kernel is compiled
  let per = 1;
  for (let ms = 0; per < 4096; per *= 2) {
    const began = performance.now();
    await submit(per);
    ms = performance.now() - began;
    if (ms >= LONG_MS) break;
  }
  return { per, run: () => submit(per), check: () => null };
}

await serve({
  lib: "adapter",
  details: `Dawn of webgpu 0.6.2, features ${[...adapter.features].sort().join(" ")}, Node ${process.versions.node}`,
  threads: 1,
  adapter: adapterName(),
  jobs: { probe },
});
