// Packs bytes for assembly/unpack.ts: the parse with the lowest price, where the prices are those of the parse before.

const INPUT = 64;
const CHANCES = 1 << 18;
const OUTPUT = 1 << 20;
const PARSE = 8 << 20;
const MOST_BYTES = 3 << 19; // of the memory that the unpacker asks for: see UNPACKER in build-wasm.mjs

const MATCH = 0;
const AGAIN = 1 << 9;
const LENGTH = 1 << 10;
const DISTANCE = 1 << 14;
const LITERAL = 1 << 16;

/** Rounds of parsing; the later half gains two thousandths together, and yet later ones nothing. */
const ROUNDS = 8;
/** A match this long is taken whole: its shorter forms are not priced. */
const LONG = 400;
const MOST_CANDIDATES = 20000;

const bitsBelow = (value) => 31 - Math.clz32(value);

/**
 * @param packer assembly/unpack.ts compiled with PACKING = 1
 * @param unpacker the same with PACKING = 0, to see that the bytes come back
 */
export function pack(data, packer, unpacker) {
  if (data.length > MOST_BYTES)
    throw new Error(`pack: expected at most ${MOST_BYTES} bytes, got ${data.length}`);
  const matches = findMatches(data);
  let prices = firstPrices;
  let best;
  for (let round = 0; round < ROUNDS; round++) {
    const { memory, run } = instance(packer);
    new Uint8Array(memory.buffer).set(data, OUTPUT);
    new Uint32Array(memory.buffer).set(cheapestParse(data, matches, prices), PARSE / 4);
    const packed = Buffer.from(memory.buffer.slice(INPUT, run(data.length)));
    if (!best || packed.length < best.length) best = packed;
    prices = pricesOf(new Uint16Array(memory.buffer, CHANCES, (OUTPUT - CHANCES) / 2));
  }
  if (!unpack(best, data.length, unpacker).equals(data))
    throw new Error("pack: expected the same bytes from the unpacker");
  return best;
}

function unpack(packed, size, unpacker) {
  const { memory, run } = instance(unpacker);
  new Uint8Array(memory.buffer).set(packed, INPUT);
  run(size);
  return Buffer.from(memory.buffer, OUTPUT, size);
}

const instance = (bytes) => new WebAssembly.Instance(new WebAssembly.Module(bytes)).exports;

/** For each position distance, length, distance, length ...: the nearest match of each length that is longer than the nearer ones. */
function findMatches(data) {
  const { length: n } = data;
  const head = new Map();
  const previous = new Int32Array(n).fill(-1);
  return Array.from({ length: n }, (_, i) => {
    const found = [];
    if (i + 1 === n) return found;
    const key = data[i] | (data[i + 1] << 8);
    const first = head.get(key) ?? -1;
    previous[i] = first;
    head.set(key, i);
    let longest = 1;
    for (let at = first, tried = 0; at >= 0 && tried < MOST_CANDIDATES; at = previous[at], tried++) {
      if (longest > 1 && data[at + longest] !== data[i + longest]) continue;
      const length = commonLength(data, at, i);
      if (length <= longest) continue;
      found.push(i - at, length);
      longest = length;
      if (length > LONG) break;
    }
    return found;
  });
}

function commonLength(data, from, to) {
  let length = 0;
  while (to + length < data.length && data[from + length] === data[to + length]) length++;
  return length;
}

/** The cheapest way from the first byte to the last; each position keeps the state of the best way that leads to it. */
function cheapestParse(data, matches, prices) {
  const { length: n } = data;
  const price = new Float64Array(n + 1).fill(Number.POSITIVE_INFINITY);
  const from = new Int32Array(n + 1);
  const taken = new Int32Array(n + 1);
  const last = new Int32Array(n + 1).fill(1);
  const second = new Int32Array(n + 1).fill(1);
  const third = new Int32Array(n + 1).fill(1);
  const history = new Uint8Array(n + 1);
  price[0] = 0;
  for (let i = 0; i < n; i++) {
    const h = history[i];
    const [a, b, c] = [last[i], second[i], third[i]];
    const before = data[i - 1] ?? 0;
    const put = (to, cost, distance, kind, x, y, z) => {
      if (cost >= price[to]) return;
      price[to] = cost;
      from[to] = i;
      taken[to] = distance;
      history[to] = (h << 2) | kind;
      last[to] = x;
      second[to] = y;
      third[to] = z;
    };
    const matched = h & 3 ? data[i - a] | 256 : 0;
    const cost = price[i] + prices.match(h, before, 0) + prices.literal(before, matched, data[i]);
    put(i + 1, cost, 0, 0, a, b, c);
    const base = price[i] + prices.match(h, before, 1);
    for (const [k, distance] of [a, b, c].entries()) {
      if (distance > i || (k > 0 && distance === a) || (k > 1 && distance === b)) continue;
      const most = commonLength(data, i - distance, i);
      const begun = base + prices.again(h, k + 1);
      const [y, z] = k === 0 ? [b, c] : k === 1 ? [a, c] : [a, b];
      for (let m = most > LONG ? most : 2; m <= most; m++)
        put(i + m, begun + prices.length(1, m), distance, k === 0 ? 2 : 3, distance, y, z);
    }
    const begun = base + prices.again(h, 0);
    let least = 2;
    for (let j = 0; j < matches[i].length; j += 2) {
      const [distance, most] = [matches[i][j], matches[i][j + 1]];
      if (distance === a || distance === b || distance === c) continue;
      for (let m = most > LONG ? most : least; m <= most; m++)
        put(i + m, begun + prices.length(0, m) + prices.distance(m, distance), distance, 1, distance, a, b);
      least = most + 1;
    }
  }
  const tokens = [];
  for (let at = n; at > 0; at = from[at]) tokens.push([at - from[at], taken[at]]);
  return tokens.reverse().flat();
}

/** A guess in bits, for the first round. */
const firstPrices = {
  match: (h, _before, is) => (h & 3 ? (is ? 0.9 : 1.2) : is ? 1.4 : 0.7),
  literal: () => 5.5,
  again: (_h, which) => [0.8, 2, 4, 4][which],
  length: (_again, m) => 1.5 + 1.7 * bitsBelow(m - 1),
  distance: (_m, distance) => 3 + 0.95 * bitsBelow(distance),
};

/** Bits that each decision costs with the chances as they stand: the functions of assembly/unpack.ts over again. */
function pricesOf(chances) {
  const decide = (context, bit) => {
    const p = ((chances[context] ^ 0x8000) >> 4) | 1;
    return -Math.log2((bit ? p : 4096 - p) / 4096);
  };
  const tree = (context, bits, value) => {
    let sum = 0;
    for (let node = 1; bits-- > 0; ) {
      const bit = (value >> bits) & 1;
      sum += decide(context + node, bit);
      node = (node << 1) | bit;
    }
    return sum;
  };
  const gamma = (context, value) => {
    let bits = bitsBelow(value);
    let sum = tree(context, 5, bits);
    context += 32 + (bits << 6);
    for (let node = 1; bits-- > 0; ) {
      const low = 3 - bits;
      const place = node < 16 ? node : low > 0 ? (node & ((1 << low) - 1)) | (1 << low) | 16 : bits + 32;
      const bit = (value >> bits) & 1;
      sum += decide(context + place, bit);
      node = (node << 1) | bit;
    }
    return sum;
  };
  const once = (context) => {
    const known = new Map();
    return (value) => {
      let bits = known.get(value);
      if (bits === undefined) known.set(value, (bits = gamma(context, value)));
      return bits;
    };
  };
  const lengths = [LENGTH, LENGTH + 4096].map(once);
  const distances = [0, 0, 2, 3, 4, 5].map((m) => once(DISTANCE + (m << 11)));
  return {
    match: (h, before, is) => decide(MATCH + (((h & 15) << 4) | (before >> 4)), is),
    again: (h, which) => tree(AGAIN + ((h & 63) << 2), 2, which),
    length: (again, m) => lengths[again](m - 1),
    distance: (m, distance) => distances[Math.min(m, 5)](distance),
    literal(before, matched, value) {
      const context = LITERAL + ((before >> 4) << 10);
      let sum = 0;
      let shared = matched;
      for (let i = 7, node = 1; i >= 0; i--) {
        const expected = (matched >> i) & 1;
        const bit = (value >> i) & 1;
        sum += decide(context + node + (shared ? 256 << expected : 0), bit);
        if (bit !== expected) shared = 0;
        node = (node << 1) | bit;
      }
      return sum;
    },
  };
}
