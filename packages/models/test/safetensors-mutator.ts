/**
 * Builds safetensors files from a description and bends the description, so that a mutant reaches deep into the parser:
 * unlike random byte flips, it keeps lengths and offsets right wherever the mutation is not about them.
 */

/** Deterministic numbers in [0, 1): mulberry32. */
export function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

export interface Description {
  /** Members of the header as text, in order: name and raw JSON of the value. */
  members: { name: string; dtype: string; shape: string[]; begin: string; end: string; extra: string }[];
  metadata: string | undefined;
  padding: string;
  /** Added to the stated length of the header. */
  lengthShift: bigint;
  data: Uint8Array;
  tail: Uint8Array;
}

const WIDTH: Record<string, number> = {
  F64: 8,
  I64: 8,
  F32: 4,
  I32: 4,
  F16: 2,
  BF16: 2,
  I16: 2,
  U8: 1,
  I8: 1,
  BOOL: 1,
};

/** A valid description with up to five tensors. */
export function describeValid(random: () => number): Description {
  const count = Math.floor(random() * 6);
  const members: Description["members"] = [];
  let at = 0;
  for (let i = 0; i < count; i++) {
    const dtype = Object.keys(WIDTH)[Math.floor(random() * 10)] as string;
    const shape = Array.from({ length: Math.floor(random() * 4) }, () => Math.floor(random() * 4));
    const size = shape.reduce((a, b) => a * b, 1) * (WIDTH[dtype] as number);
    members.push({
      name: JSON.stringify(
        `layer.${i}.${["weight", "b\u00efas", "\u{1f600}", 'q"uote'][Math.floor(random() * 4)]}`,
      ),
      dtype: JSON.stringify(dtype),
      shape: shape.map(String),
      begin: String(at),
      end: String(at + size),
      extra: "",
    });
    at += size;
  }
  const data = Uint8Array.from({ length: at }, () => Math.floor(random() * 256));
  // The order of the header need not be that of the data.
  if (random() < 0.3) members.reverse();
  return {
    members,
    metadata: random() < 0.5 ? undefined : '{"format":"pt"}',
    padding: " ".repeat(Math.floor(random() * 9)),
    lengthShift: 0n,
    data,
    tail: new Uint8Array(),
  };
}

export function encode(file: Description): Uint8Array {
  const parts = file.members.map(
    (m) =>
      `${m.name}:{"dtype":${m.dtype},"shape":[${m.shape.join(",")}],"data_offsets":[${m.begin},${m.end}]${m.extra}}`,
  );
  if (file.metadata !== undefined) parts.unshift(`"__metadata__":${file.metadata}`);
  const header = new TextEncoder().encode(`{${parts.join(",")}}${file.padding}`);
  const bytes = new Uint8Array(8 + header.length + file.data.length + file.tail.length);
  new DataView(bytes.buffer).setBigUint64(
    0,
    BigInt.asUintN(64, BigInt(header.length) + file.lengthShift),
    true,
  );
  bytes.set(header, 8);
  bytes.set(file.data, 8 + header.length);
  bytes.set(file.tail, 8 + header.length + file.data.length);
  return bytes;
}

const HOSTILE = [
  "-1",
  "1.5",
  "1e1",
  "0",
  "1",
  "2",
  "3",
  "4",
  "8",
  "255",
  "4294967295",
  "4294967296",
  "9007199254740991",
  "9007199254740992",
  "18446744073709551615",
  "18446744073709551616",
  "null",
  '"4"',
  "[]",
  "{}",
  "true",
  "",
];
const pick = <T>(random: () => number, from: readonly T[]): T =>
  from[Math.floor(random() * from.length)] as T;

/** One change of the description; most make it invalid. */
export function mutate(file: Description, random: () => number): void {
  const member = file.members.length > 0 ? pick(random, file.members) : undefined;
  switch (Math.floor(random() * 12)) {
    case 0:
      if (member) member.begin = pick(random, HOSTILE);
      return;
    case 1:
      if (member) member.end = pick(random, HOSTILE);
      return;
    case 2:
      if (member)
        member.shape.splice(
          Math.floor(random() * (member.shape.length + 1)),
          Math.floor(random() * 2),
          pick(random, HOSTILE),
        );
      return;
    case 3:
      if (member)
        member.dtype = pick(random, [
          '"F32"',
          '"F64"',
          '"f32"',
          '"F128"',
          '"U8"',
          '"F4"',
          "1",
          "null",
          '"BF16"',
          '"__proto__"',
        ]);
      return;
    case 4:
      if (member) file.members.push({ ...member }); // a name twice
      return;
    case 5:
      if (member) file.members.splice(file.members.indexOf(member), 1); // a hole
      return;
    case 6:
      if (member)
        member.name = pick(random, [
          '"__metadata__"',
          '"\\ud800"',
          '""',
          '"a\\u0000b"',
          "1",
          '"__proto__"',
          '"../../x"',
        ]);
      return;
    case 7:
      if (member) member.extra = pick(random, [',"more":1', ',"dtype":"F32"', ',"shape":[]', ","]);
      return;
    case 8:
      file.metadata = pick(random, [
        "null",
        "[]",
        '{"a":1}',
        '{"a":"b","a":"c"}',
        "{}",
        '{"a":{}}',
        '"x"',
        '{"a":"b"}',
      ]);
      return;
    case 9:
      file.lengthShift = pick(random, [-1n, 1n, -8n, 8n, 1n << 32n, 1n << 63n, -1000n, 100_000_001n]);
      return;
    case 10:
      file.padding = pick(random, ["\n", "\t", "\0", " x", "}", "       ", ""]);
      return;
    default:
      if (random() < 0.5) file.tail = new Uint8Array(1 + Math.floor(random() * 16));
      else file.data = file.data.subarray(0, Math.floor(random() * (file.data.length + 1)));
  }
}

/** A cruder change: bytes flipped, removed or put in. */
export function mutateBytes(bytes: Uint8Array, random: () => number): Uint8Array {
  const at = Math.floor(random() * bytes.length);
  switch (Math.floor(random() * 4)) {
    case 0: {
      const copy = bytes.slice();
      copy[at] = (copy[at] as number) ^ (1 << Math.floor(random() * 8));
      return copy;
    }
    case 1:
      return bytes.slice(0, at);
    case 2:
      return Uint8Array.from([...bytes.subarray(0, at), Math.floor(random() * 256), ...bytes.subarray(at)]);
    default:
      return Uint8Array.from([
        ...bytes.subarray(0, at),
        ...bytes.subarray(at + 1 + Math.floor(random() * 8)),
      ]);
  }
}
