import { expect, test } from "vitest";
import { checkFileName, checkFilePath } from "./safe-name.js";

test.each([
  "model.safetensors",
  "a",
  ".gitattributes",
  "ä ö.json",
  "x".repeat(255),
  "com10",
  "nulls",
  "a..b",
])("%j is a file name", (name) => expect(checkFileName(name, "test")).toBe(name));

test.each([
  ["", /the name of a file/],
  [".", /the name of a file/],
  ["..", /the name of a file/],
  ["a/b", /without path separators/],
  ["a\\b", /without path separators/],
  ["C:x", /drive letters/],
  ["a:stream", /streams/],
  ["a\nb", /control characters/],
  ["a\0", /control characters/],
  ["a?", /< > " \| \? \*/],
  ["a.", /end in a dot/],
  ["a ", /end in a dot or a space/],
  ["\ud800", /well-formed Unicode/],
  ["NUL", /device of Windows/],
  ["con.txt", /device of Windows/],
  ["lpt1", /device of Windows/],
  ["COM\u00b9", /device of Windows/],
  ["x".repeat(256), /at most 255 bytes/],
  ["é".repeat(128), /at most 255 bytes/],
])("%j is none", (name, message) => expect(() => checkFileName(name, "test")).toThrow(message));

test("a path is such names with slashes between them, and leads nowhere else", () => {
  expect(checkFilePath("1_Pooling/config.json", "test")).toBe("1_Pooling/config.json");
  for (const path of ["/a", "a//b", "a/", "a/../b", "./a", "a/nul", "a\\..\\b"]) {
    expect(() => checkFilePath(path, "test"), path).toThrow(/test: expected/);
  }
  expect(() => checkFilePath(Array(17).fill("a").join("/"), "test")).toThrow(/at most 16 names/);
  expect(() => checkFilePath(`${"a".repeat(200)}/`.repeat(6) + "a", "test")).toThrow(/at most 16 names/);
});
