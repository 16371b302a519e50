import { serve } from "../protocol.js";

// A module that reads memory in order, 128 bytes a step, and gives what it read joined by xor. In WebAssembly text:
//
//   (memory (export "memory") PAGES)
//   (func (export "read") (param $at i32) (param $end i32) (result i32)
//     (local $a v128) (local $b v128)
//     (loop
//       $a = $a xor load(at) xor load(at + 32) xor ...; $b = $b xor load(at + 16) xor load(at + 48) xor ...
//       $at = $at + 128
//       (br_if 0 (i32.lt_u $at $end)))
//     (i32x4.extract_lane 0 (v128.xor $a $b)))
const I32 = 0x7f;
const V128 = 0x7b;
const STEP = 128;

const leb = (value: number): number[] =>
  value < 128 ? [value] : [(value & 127) | 128, ...leb(Math.floor(value / 128))];
const section = (id: number, content: number[]): number[] => [id, ...leb(content.length), ...content];
const name = (text: string): number[] => [text.length, ...new TextEncoder().encode(text)];
const localGet = (i: number): number[] => [0x20, i];
const localSet = (i: number): number[] => [0x21, i];
const XOR = [0xfd, 0x51];

/** $into = $into xor the 16 bytes at $at + offset */
const joined = (into: number, offset: number): number[] => [
  ...localGet(into),
  ...localGet(0),
  ...[0xfd, 0x00, 4, ...leb(offset)], // v128.load, aligned to 16
  ...XOR,
  ...localSet(into),
];

function readerModule(pages: number): Uint8Array<ArrayBuffer> {
  const body = [
    ...[1, 2, V128], // two locals
    ...[0x03, 0x40], // loop
    ...Array.from({ length: STEP / 16 }, (_, i) => joined(2 + (i % 2), 16 * i)).flat(),
    ...localGet(0),
    ...[0x41, 0x80, 0x01], // i32.const 128
    0x6a, // i32.add
    ...[0x22, 0], // local.tee
    ...localGet(1),
    0x49, // i32.lt_u
    ...[0x0d, 0], // br_if
    0x0b,
    ...localGet(2),
    ...localGet(3),
    ...XOR,
    ...[0xfd, 0x1b, 0], // i32x4.extract_lane
    0x0b,
  ];
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, [1, 0x60, 2, I32, I32, 1, I32]),
    ...section(3, [1, 0]),
    ...section(5, [1, 0, ...leb(pages)]),
    ...section(7, [2, ...name("memory"), 2, 0, ...name("read"), 0, 0]),
    ...section(10, [1, ...leb(body.length), ...body]),
  ]);
}

/** Reads `sizeBytes`, then as many after them, and so on through `copies`, as a product with these weights would. */
export async function reader(
  sizeBytes: number,
  copies: number,
): Promise<{ memory: Uint8Array; read(): number }> {
  const stride = Math.ceil(sizeBytes / STEP) * STEP;
  const source = readerModule(Math.ceil((stride * copies) / 65536));
  const { instance } = await WebAssembly.instantiate(source);
  const exported = instance.exports as {
    memory: WebAssembly.Memory;
    read(at: number, end: number): number;
  };
  let turn = 0;
  return {
    memory: new Uint8Array(exported.memory.buffer),
    read() {
      const at = (turn++ % copies) * stride;
      return exported.read(at, at + stride);
    },
  };
}

const none = (): string => "it only reads weights";

if (process.argv[2] === "reading") {
  await serve({
    lib: "reading",
    details: `the bytes of the weights read by 128-bit loads of WebAssembly, Node ${process.versions.node}`,
    threads: 1,
    jobs: {
      matmul: none,
      rank: none,
      chain: none,
      softmax: none,
      layernorm: none,
      mlp: none,
      decoder: none,
      async matvec({ sizeBytes, copies }) {
        const { memory, read } = await reader(sizeBytes, copies);
        memory.fill(1); // pages that were never written are one page of zeros to the machine
        return { run: () => void read(), check: () => null };
      },
    },
  });
}
