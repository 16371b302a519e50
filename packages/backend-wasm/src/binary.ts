import { bug, DeviceError } from "@lowrank/tensor/backend";
import type { PackedExtension } from "./emit.js";
import { packedKernels, plainBytes, relaxedBytes, unpacker } from "./generated/kernels.js";

type Bytes = Uint8Array<ArrayBuffer>;

/** Where assembly/unpack.ts has its input and its output. */
const PACKED_AT = 64;
const UNPACKED_AT = 1 << 20;

/**
 * The kernels in the fastest form that this engine takes, for shared memory or not.
 *
 * @throws DeviceError if the engine or the policy of the page refuses them
 */
export async function compileKernels(
  shared: boolean,
): Promise<{ module: WebAssembly.Module; relaxed: boolean }> {
  try {
    const packed = { packed: packedKernels, relaxedBytes, plainBytes };
    const best = unpack(packed, { shared, relaxed: true });
    const relaxed = WebAssembly.validate(best);
    return {
      module: await WebAssembly.compile(relaxed ? best : unpack(packed, { shared, relaxed })),
      relaxed,
    };
  } catch (cause) {
    throw new DeviceError({
      where: "wasm",
      expected: "an engine that compiles WebAssembly with SIMD",
      got: String(cause),
      hint: "a page with a Content-Security-Policy needs script-src 'wasm-unsafe-eval'",
      cause,
    });
  }
}

/** One of the two forms of packed kernels. */
export function unpack(
  { packed, relaxedBytes, plainBytes }: PackedExtension,
  { shared, relaxed }: { shared: boolean; relaxed: boolean },
): Bytes {
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(fromBase64(unpacker)));
  const { memory, run } = exports as unknown as { memory: WebAssembly.Memory; run(size: number): number };
  new Uint8Array(memory.buffer).set(fromBase64(packed), PACKED_AT);
  run(relaxedBytes + plainBytes);
  const bytes = relaxed
    ? new Uint8Array(memory.buffer, UNPACKED_AT, relaxedBytes)
    : new Uint8Array(memory.buffer, UNPACKED_AT + relaxedBytes, plainBytes);
  return shared ? bytes : unshare(bytes);
}

function fromBase64(text: string): Bytes {
  const native = (Uint8Array as { fromBase64?: (text: string) => Bytes }).fromBase64;
  if (native) return native.call(Uint8Array, text);
  const characters = atob(text);
  const bytes = new Uint8Array(characters.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = characters.charCodeAt(i);
  return bytes;
}

/** An import of a shared memory as it stands in a module: the end of its name, its kind, its flags (shared, with a limit). */
const SHARED_MEMORY = "memory\x02\x03";
/** Types come before imports, and nothing comes before types. */
const FRONT = 4096;

/**
 * The same module for memory that is not shared: clears one bit of the memory import. Atomic instructions are valid on
 * such a memory; waiting on it is not, and one thread never waits.
 */
export function unshare(bytes: Bytes): Bytes {
  const at = String.fromCharCode(...bytes.subarray(0, FRONT)).indexOf(SHARED_MEMORY);
  if (at < 0) bug("the kernels import no memory");
  const out = bytes.slice();
  out[at + 7] = 1;
  return out;
}
