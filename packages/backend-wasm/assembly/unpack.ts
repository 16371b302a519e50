// A small module of its own, which unpacks the kernels: a Lempel-Ziv parse whose decisions are coded by a range coder with
// adaptive chances, as in LZMA (Pavlov 1998). Compiled with PACKING = 1 the same model writes what it reads.

/** Coded bytes begin here. */
const INPUT: usize = 64;
/** The chance of a one in each context, 16 bits: 12 of the chance, less 1/2, above 4 that tell how often it was met. */
const CHANCES: usize = 1 << 18;
/** The unpacked bytes begin here. */
const OUTPUT: usize = 1 << 20;
/** While packing, the parse: pairs of length and distance, 1 and 0 for a literal. */
const PARSE: usize = 8 << 20;

// First contexts of each decision; scripts/pack.mjs has the same.
const MATCH: u32 = 0;
const AGAIN: u32 = 1 << 9;
const LENGTH: u32 = 1 << 10;
const DISTANCE: u32 = 1 << 14;
const LITERAL: u32 = 1 << 16;

let low: u32 = 0;
let range: u32 = -1;
let code: u32 = 0;
let input: usize = INPUT;

/** One decision in a context: reads a bit, or writes the one given. */
function decide(context: u32, bit: u32): u32 {
  const at = CHANCES + (<usize>context << 1);
  const state = <u32>load<u16>(at) ^ 0x8000;
  const bound = (range >> 12) * ((state >> 4) | 1);
  if (!PACKING) bit = u32(code < bound);
  if (bit) range = bound;
  else {
    range -= bound;
    if (PACKING) {
      low += bound;
      if (low < bound) carry();
    } else code -= bound;
  }
  while (range < 1 << 24) {
    range <<= 8;
    if (PACKING) flush();
    else code = (code << 8) | load<u8>(input++);
  }
  // new contexts learn fast: the step falls from 1/4 to 1/32
  const met = state & 15;
  const rate = 2 + (met >> 2);
  const p = state >> 4;
  const next = bit ? p + ((4095 - p) >> rate) : p - (p >> rate);
  store<u16>(at, ((next << 4) | (met + u32(met < 12))) ^ 0x8000);
  return bit;
}

/** A number of `bits` bits, the highest first, each in the context of those before it. */
function tree(context: u32, bits: u32, value: u32): u32 {
  let node: u32 = 1;
  while (bits-- > 0) node = (node << 1) | decide(context + node, (value >> bits) & 1);
  return node;
}

/** A number from 1 up: how many bits follow the highest, then these. */
function gamma(context: u32, value: u32): u32 {
  let bits = tree(context, 5, 31 - clz(value)) - 32;
  context += 32 + (bits << 6);
  let node: u32 = 1;
  while (bits-- > 0) {
    // after the highest five the place alone, but for the lowest three, which know each other
    const low = 3 - <i32>bits;
    const place = node < 16 ? node : low > 0 ? (node & ((1 << low) - 1)) | (1 << low) | 16 : bits + 32;
    node = (node << 1) | decide(context + place, (value >> bits) & 1);
  }
  return node;
}

/** A byte in the context of the one before it; `matched` is what follows the source of a match that ended here, or 0. */
function literal(before: u32, matched: u32, value: u32): u32 {
  const context = LITERAL + (before >> 4 << 10);
  let node: u32 = 1;
  let shared: u32 = matched; // 0 once a bit has differed, or without a match
  for (let i: i32 = 7; i >= 0; i--) {
    const expected = (matched >> i) & 1;
    const bit = decide(context + node + (shared ? 256 << expected : 0), (value >> i) & 1);
    if (bit != expected) shared = 0;
    node = (node << 1) | bit;
  }
  return node;
}

/** Unpacks, or packs, `size` bytes. @returns where the coded bytes end */
export function run(size: i32): usize {
  if (!PACKING) for (let i = 0; i < 4; i++) code = (code << 8) | load<u8>(input++);
  let out = OUTPUT;
  let parse = PARSE;
  let history: u32 = 0; // kinds of the last tokens, two bits each: literal, new distance, last distance, older one
  let last: u32 = 1;
  let second: u32 = 1;
  let third: u32 = 1;
  while (out < OUTPUT + size) {
    let length: u32 = 1;
    let distance: u32 = 0;
    if (PACKING) {
      length = load<u32>(parse);
      distance = load<u32>(parse, 4);
      parse += 8;
    }
    const before = <u32>load<u8>(out - 1);
    if (!decide(MATCH + ((history & 15) << 4 | before >> 4), u32(distance != 0))) {
      const matched = history & 3 ? <u32>load<u8>(out - last) | 256 : 0;
      store<u8>(out, literal(before, matched, load<u8>(out)));
      out++;
      history <<= 2;
      continue;
    }
    let again: u32 = 0;
    if (PACKING) again = distance == last ? 1 : distance == second ? 2 : distance == third ? 3 : 0;
    again = tree(AGAIN + ((history & 63) << 2), 2, again) & 3;
    length = gamma(LENGTH + (again ? 4096 : 0), length - 1) + 1;
    if (again == 0) distance = gamma(DISTANCE + (min<u32>(length, 5) << 11), distance);
    else distance = again == 1 ? last : again == 2 ? second : third;
    if (again != 1) {
      if (again != 2) third = second;
      second = last;
      last = distance;
    }
    history = (history << 2) | (again == 0 ? 1 : again == 1 ? 2 : 3);
    if (PACKING) out += length;
    else for (; length > 0; length--, out++) store<u8>(out, load<u8>(out - distance));
  }
  if (PACKING) for (let i = 0; i < 4; i++) flush();
  return input;
}

function flush(): void {
  store<u8>(input++, low >> 24);
  low <<= 8;
}

function carry(): void {
  let at = input;
  do {
    at--;
    store<u8>(at, load<u8>(at) + 1);
  } while (load<u8>(at) == 0);
}
