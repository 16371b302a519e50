import { DeviceError } from "@lowrank/tensor/backend";
import { plainKernels, relaxedKernels } from "./generated/kernels.js";

const IMPORT_SECTION = 2;
const MEMORY_IMPORT = 2;
const SHARED_FLAG = 2;

/**
 * The kernels in the fastest form that this engine takes, for shared memory or not.
 *
 * @throws DeviceError if the engine or the policy of the page refuses them
 */
export async function compileKernels(
  shared: boolean,
): Promise<{ module: WebAssembly.Module; relaxed: boolean }> {
  let bytes = await inflate(relaxedKernels);
  const relaxed = WebAssembly.validate(shared ? bytes : unshare(bytes));
  if (!relaxed) bytes = await inflate(plainKernels);
  try {
    return { module: await WebAssembly.compile(shared ? bytes : unshare(bytes)), relaxed };
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

async function inflate(base64: string): Promise<Uint8Array<ArrayBuffer>> {
  const packed = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/**
 * The same module for memory that is not shared: clears one bit of the memory import. Atomic instructions are valid on
 * such a memory; waiting on it is not, and one thread never waits.
 */
export function unshare(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const out = bytes.slice();
  let at = 8; // magic and version
  const number = (): number => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = out[at++]!;
      value += (byte & 127) * 2 ** shift;
      if (byte < 128) return value;
    }
  };
  while (at < out.length) {
    const section = number();
    const size = number();
    if (section !== IMPORT_SECTION) {
      at += size;
      continue;
    }
    number(); // the count: the memory is the only import
    for (let name = 0; name < 2; name++) {
      const length = number(); // of the module's name, then of the field's
      at += length;
    }
    if (out[at++] !== MEMORY_IMPORT) break;
    out[at] = out[at]! & ~SHARED_FLAG;
    return out;
  }
  throw new Error("lowrank bug: the kernels import no memory");
}
