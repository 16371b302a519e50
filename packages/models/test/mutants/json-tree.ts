import { pick, upTo } from "./random.js";

/**
 * JSON as it is written, so that a mutant can hold what no parser would give: a key twice, a number beyond 2^53, half a
 * surrogate pair. A leaf is its text.
 */
export type Tree = string | { readonly items: Tree[] } | { readonly members: [key: string, value: Tree][] };

/** The tree of a value. */
export function treeOf(value: unknown): Tree {
  if (Array.isArray(value)) return { items: value.map(treeOf) };
  if (typeof value === "object" && value !== null) {
    return { members: Object.entries(value).map(([key, member]) => [JSON.stringify(key), treeOf(member)]) };
  }
  return JSON.stringify(value);
}

export function textOf(tree: Tree): string {
  if (typeof tree === "string") return tree;
  if ("items" in tree) return `[${tree.items.map(textOf).join(",")}]`;
  return `{${tree.members.map(([key, value]) => `${key}:${textOf(value)}`).join(",")}}`;
}

export const encodeTree = (tree: Tree): Uint8Array => new TextEncoder().encode(textOf(tree));

const NUMBERS =
  "0 1 -1 2 3 7 8 64 255 256 65535 65536 2147483647 2147483648 4294967295 4294967296 9007199254740991 9007199254740992 18446744073709551615 18446744073709551616 1e308 1e309 -0 0.5 1e-400 1e999999 01 1. .5 +1 0x10 NaN Infinity".split(
    " ",
  );
const STRINGS = [
  "",
  "a",
  "__proto__",
  "constructor",
  "toString",
  "../../etc/passwd",
  "C:\\x",
  "nul",
  "a/b",
  "(a+)+$",
  "(?:a|a)*b",
  "\u001b[31m",
  "\u202e",
  "\u0000",
  "é",
  "😀",
  "x".repeat(300),
  "F32",
  "I64",
  "silu",
  "default",
];
const RAW = [
  "null",
  "true",
  "false",
  "{}",
  "[]",
  '[""]',
  '{"":0}',
  '"\\ud800"',
  '"\\u00e9"',
  '"\\q"',
  '"',
  "nul",
  "",
  "\t",
  "[,]",
  "{,}",
];

/** A leaf that is likely to do harm. */
export function hostile(random: () => number): string {
  const kind = random();
  if (kind < 0.5) return pick(random, NUMBERS);
  return kind < 0.75 ? JSON.stringify(pick(random, STRINGS)) : pick(random, RAW);
}

const CONTAINERS = (tree: Tree, found: Exclude<Tree, string>[] = []): Exclude<Tree, string>[] => {
  if (typeof tree === "string") return found;
  found.push(tree);
  const children = "items" in tree ? tree.items : tree.members.map(([, value]) => value);
  for (const child of children) CONTAINERS(child, found);
  return found;
};

const nested = (depth: number): string => "[".repeat(depth) + "]".repeat(depth);

/** One change at a random place. */
export function mutateTree(tree: Tree, random: () => number): undefined {
  const place = pick(random, CONTAINERS(tree));
  if (place === undefined) return;
  const list: unknown[] = "items" in place ? place.items : place.members;
  const at = upTo(random, list.length);
  const keyed = "members" in place;
  const key = (): string => (random() < 0.7 ? JSON.stringify(pick(random, STRINGS)) : hostile(random));
  const put = (value: Tree): undefined => {
    if (list.length === 0) list.push(keyed ? [key(), value] : value);
    else if (keyed) place.members[at]![1] = value;
    else place.items[at] = value;
  };
  const current = list.length === 0 ? "" : keyed ? place.members[at]![1] : place.items[at]!;
  switch (upTo(random, 12)) {
    case 0:
    case 1:
    case 2:
      return put(hostile(random));
    case 3: // a number near by
      return put(
        /^-?\d+$/.test(String(current))
          ? `${BigInt(String(current)) + BigInt(pick(random, [-1, 1, 2, 8]))}`
          : hostile(random),
      );
    case 4:
      return void list.splice(at, 1);
    case 5: // again, under the same key
      if (list.length > 0) list.splice(upTo(random, list.length + 1), 0, structuredClone(list[at]));
      return;
    case 6:
      if (keyed && list.length > 0) place.members[at]![0] = key();
      return;
    case 7: // two change places
      if (list.length > 1) {
        const other = upTo(random, list.length);
        if (keyed)
          [place.members[at]![1], place.members[other]![1]] = [
            place.members[other]![1],
            place.members[at]![1],
          ];
        else [place.items[at], place.items[other]] = [place.items[other]!, place.items[at]!];
      }
      return;
    case 8:
      return put(nested(pick(random, [1, 2, 5, 65, 100, 5000])));
    case 9:
      return put({
        items: Array.from({ length: pick(random, [1, 2, 70, 1000]) }, () => structuredClone(current) || "0"),
      });
    case 10:
      return put(
        random() < 0.5
          ? ` ${textOf(current)}\n`
          : textOf(current).replace(/[a-z]/, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`),
      );
    default: // one more
      return void list.splice(
        upTo(random, list.length + 1),
        0,
        keyed ? [key(), hostile(random)] : hostile(random),
      );
  }
}
