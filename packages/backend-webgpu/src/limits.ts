import { DeviceError, dtypeBytes, type Graph, type Group, groupName } from "@lowrank/tensor/backend";
import { type Dispatch, paddedBytes } from "./shader.js";

/** Elements that 32-bit indices of whole vectors reach. */
const MOST_ELEMENTS = 2 ** 31;

/** The limits of a device that plans meet. */
export type Limits = Pick<
  GPUSupportedLimits,
  | "maxStorageBufferBindingSize"
  | "maxBufferSize"
  | "maxStorageBuffersPerShaderStage"
  | "maxComputeWorkgroupsPerDimension"
>;

const shapeOf = (dims: readonly number[]): string => `[${dims.join(", ")}]`;

/**
 * @throws DeviceError if a tensor of the graph has more elements than an index of 32 bits reaches, or is stored and larger
 *   than any buffer of the device
 */
export function expectSizes({ nodes, leaves, roots }: Graph, { maxBufferSize }: Limits): void {
  for (const node of nodes) {
    for (const { shape } of node.outputs ?? [node]) {
      const { size, dims } = shape;
      if (size > MOST_ELEMENTS) {
        throw new DeviceError({
          where: `${node.op.name} on webgpu`,
          expected: `a result of at most ${MOST_ELEMENTS} elements, which 32-bit indices reach`,
          got: `${size} in shape ${shapeOf(dims)}`,
          hint: "split it along its first axis, or use the wasm backend",
        });
      }
    }
  }
  for (const node of [...leaves, ...roots.map((root) => root.node)]) {
    const bytes = node.shape.size * dtypeBytes(node.dtype);
    if (bytes > maxBufferSize) {
      throw new DeviceError({
        where: `${node.op.name} on webgpu`,
        expected: `tensors of at most ${maxBufferSize} bytes, the largest buffer of this device`,
        got: `${bytes} in shape ${shapeOf(node.shape.dims)} of ${node.dtype}`,
        hint: "split it along its first axis",
      });
    }
  }
}

/** @throws DeviceError if the temporaries of a plan do not go into one buffer */
export function expectArena(bytes: number, { maxBufferSize }: Limits): void {
  if (bytes <= maxBufferSize) return;
  throw new DeviceError({
    where: "evaluate on webgpu",
    expected: `at most ${maxBufferSize} bytes of temporaries, the largest buffer of this device`,
    got: `a plan that needs ${bytes}`,
    hint: "use a smaller batch, shorter sequences, or checkpoint() around blocks",
  });
}

/**
 * @throws DeviceError if the device can not bind what a dispatch reads and writes
 */
export function expectBindable(dispatch: Dispatch, group: Group, limits: Limits): void {
  const { bindings } = dispatch;
  const where = `${groupName(group)} on webgpu`;
  if (bindings.length > limits.maxStorageBuffersPerShaderStage) {
    throw new DeviceError({
      where,
      expected: `at most ${limits.maxStorageBuffersPerShaderStage} tensors at once, the limit of this device`,
      got: `${bindings.length} in kernel ${dispatch.name}`,
      hint: "evaluate parts of the expression by themselves",
    });
  }
  for (const { of } of bindings) {
    const bytes = paddedBytes(of);
    if (bytes <= limits.maxStorageBufferBindingSize) continue;
    throw new DeviceError({
      where,
      expected: `to see at most ${limits.maxStorageBufferBindingSize} bytes of a tensor at once, the limit of this device`,
      got: `${bytes} bytes${"dims" in of ? ` in shape ${shapeOf(of.dims)} of ${of.dtype}` : " of temporaries"}`,
      hint: "split the tensor along its first axis, use a smaller batch, or a smaller dtype such as f16",
    });
  }
}
