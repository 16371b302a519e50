import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { isFormatError } from "./format-error.js";
import { scanJson, toPlain, type JsonScanOptions } from "./json-scan.js";

const bytes = (text: string) => new TextEncoder().encode(text);
const scan = (text: string | Uint8Array, options: Partial<JsonScanOptions> = {}) =>
  scanJson(typeof text === "string" ? bytes(text) : text, { where: "test", ...options });

function fault(text: string | Uint8Array, options?: Partial<JsonScanOptions>) {
  try {
    scan(text, options);
  } catch (error) {
    if (isFormatError(error)) return error;
    throw error;
  }
  throw new Error("expected a refusal");
}

test("what JSON.stringify writes is read as JSON.parse reads it", () => {
  fc.assert(
    fc.property(fc.jsonValue(), fc.constantFrom(undefined, 2, "\t"), (value, indent) => {
      const text = JSON.stringify(value, null, indent);
      const expected: unknown = JSON.parse(text);
      // Half a surrogate pair is written as an escape and is no Unicode text.
      if (/\\ud[89a-f]/i.test(text)) return;
      expect(JSON.stringify(toPlain(scan(text, { numbers: "any", maxDepth: 1000 })))).toBe(
        JSON.stringify(expected),
      );
    }),
    { seed: 1, numRuns: 2000 },
  );
});

test("any bytes are either read as JSON.parse reads them or refused with a format error", () => {
  const piece = fc.constantFrom(
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    '"',
    "a",
    "\\",
    "\\u00",
    "1",
    "-",
    ".5",
    "e9",
    " ",
    "null",
    "true",
    "\u00e9",
    "0",
    '"k":',
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 14 }), (pieces) => {
      const text = pieces.join("");
      let value: unknown;
      try {
        value = toPlain(scan(text, { numbers: "any" }));
      } catch (error) {
        expect(isFormatError(error)).toBe(true);
        return;
      }
      expect(JSON.stringify(value)).toBe(JSON.stringify(JSON.parse(text)));
    }),
    { seed: 2, numRuns: 20_000 },
  );
});

describe("refuses, with the byte offset", () => {
  const cases: [string, string | Uint8Array, number, Partial<JsonScanOptions>?][] = [
    ["a key given twice", '{"a":1,"a":2}', 7],
    ["a key given twice, once with an escape", '{"a":1,"\\u0061":2}', 7],
    ["an integer beyond 2^53", "[9007199254740992]", 1],
    ["a negative integer beyond 2^53", "[-9007199254740993]", 1],
    ["a number beyond a double", "[1e999]", 1, { numbers: "any" }],
    ["a fraction where whole numbers are asked for", "[1.0]", 1, { numbers: "natural" }],
    ["a sign where whole numbers are asked for", "[-1]", 1, { numbers: "natural" }],
    ["an exponent where whole numbers are asked for", "[1e2]", 1, { numbers: "natural" }],
    ["bytes that are not UTF-8", new Uint8Array([0x22, 0xff, 0x22]), 1],
    ["an overlong encoding", new Uint8Array([0x22, 0xc0, 0xaf, 0x22]), 1],
    ["an encoded surrogate", new Uint8Array([0x22, 0xed, 0xa0, 0x80, 0x22]), 1],
    ["half a surrogate pair", '"\\ud800"', 0],
    ["too many levels", "[".repeat(65), 64],
    ["a byte order mark", new Uint8Array([0xef, 0xbb, 0xbf, 0x31]), 0],
    ["a bare control character", '"a\nb"', 2],
    ["an unknown escape", '"\\x41"', 1],
    ["a short unicode escape", '"\\u12"', 1],
    ["a leading zero", "[01]", 1],
    ["a plus sign", "[+1]", 1],
    ["a number without digits after its point", "[1.]", 3],
    ["NaN", "NaN", 0],
    ["a trailing comma in a list", "[1,]", 3],
    ["a trailing comma in an object", '{"a":1,}', 7],
    ["a key without quotes", "{a:1}", 1],
    ["a missing colon", '{"a" 1}', 5],
    ["a missing comma", "[1 2]", 3],
    ["an open string", '"abc', 0],
    ["an open object", '{"a":1', 6],
    ["something behind the value", "1 2", 2],
    ["nothing at all", "", 0],
    ["half a word", "tru", 0],
  ];
  test.each(cases)("%s", (_name, text, offset, options) => {
    const error = fault(text, options);
    expect(error.offset).toBe(offset);
    expect(error.message).toMatch(/^test: expected .+, got .+ \(json, byte \d+\)$/);
  });
});

test("an integer that JSON.parse would round passes only where any number is taken", () => {
  expect(scan("1000000000000000019884624838656", { numbers: "any" })).toBe(1e30);
  expect(fault("1000000000000000019884624838656").expected).toContain("2^53");
});

test("__proto__ is a key like any other", () => {
  const plain = toPlain(scan('{"__proto__":{"polluted":true}}')) as Record<string, unknown>;
  expect(Object.keys(plain)).toEqual(["__proto__"]);
  expect(({} as Record<string, unknown>)["polluted"]).toBeUndefined();
});

test("keys keep their order, numbers among them", () => {
  expect([...(scan('{"2":0,"1":0,"a":0,"0":0}') as Map<string, unknown>).keys()]).toEqual([
    "2",
    "1",
    "a",
    "0",
  ]);
});

test("ten million brackets are refused at once", () => {
  const started = performance.now();
  expect(fault(new Uint8Array(10_000_000).fill(0x5b)).expected).toContain("levels");
  expect(performance.now() - started).toBeLessThan(10_000);
});
