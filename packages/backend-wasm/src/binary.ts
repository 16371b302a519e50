import { DeviceError } from "@lowrank/tensor/backend";
import type { Extension } from "./emit.js";
import { packedKernels, plainBytes, relaxedBytes, unpacker } from "./generated/kernels.js";

type Bytes = Uint8Array<ArrayBuffer>;

/** Where assembly/unpack.ts has its input and its output. */
const PACKED_AT = 64;
const UNPACKED_AT = 1 << 20;
const IMPORT_SECTION = 2;
const FUNCTION_IMPORT = 0;
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
  { packed, relaxedBytes, plainBytes }: Extension,
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

/**
 * The same module for memory that is not shared: clears one bit of the memory import. Atomic instructions are valid on
 * such a memory; waiting on it is not, and one thread never waits.
 */
export function unshare(bytes: Bytes): Bytes {
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
    for (let imports = number(); imports > 0; imports--) {
      for (let name = 0; name < 2; name++) {
        const length = number(); // of the module's name, then of the field's
        at += length;
      }
      const kind = out[at++];
      if (kind === MEMORY_IMPORT) {
        out[at] = out[at]! & ~SHARED_FLAG;
        return out;
      }
      if (kind !== FUNCTION_IMPORT) break;
      number(); // its type
    }
    break;
  }
  throw new Error("lowrank bug: the kernels import no memory");
}
