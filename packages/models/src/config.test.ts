import { expect, test } from "vitest";
import { ConfigReader, readConfigJson } from "./config.js";
import { openFolder } from "./source.js";

const read = async (text: string) =>
  readConfigJson(await openFolder({ "config.json": new TextEncoder().encode(text) }));

test("a configuration is an object, whose keys can reach no prototype", async () => {
  const json = await read('{"__proto__": {"hidden_size": 1}, "a": 1e30}');
  expect(Object.getPrototypeOf(json)).toBeNull();
  expect(json["hidden_size"]).toBeUndefined();
  expect(new ConfigReader("test", json).raw("toString")).toBeUndefined();
  await expect(read("[1]")).rejects.toThrow(/config\.json: expected an object, got another value/);
  await expect(read('{"a":1,"a":2}')).rejects.toThrow(/every key once, got "a" again/);
  await expect(read('{"a":1')).rejects.toMatchObject({ code: "LOWRANK_FORMAT", offset: 6 });
  await expect(read(`{"a":${"[".repeat(70)}${"]".repeat(70)}}`)).rejects.toThrow(/at most 64 nested levels/);
  await expect(openFolder({}).then((folder) => readConfigJson(folder))).rejects.toThrow(
    /files: expected config\.json, got no such file/,
  );
  await expect(
    openFolder({ "config.json": new Uint8Array((1 << 20) + 1) }).then((folder) => readConfigJson(folder)),
  ).rejects.toThrow(/expected at most 1048576 bytes, got 1048577 bytes/);
});

test("a field of the wrong kind is named with what it is", () => {
  const reader = new ConfigReader("config.json of X", {
    text: "\u001b[31m",
    list: [1],
    object: Object.create(null) as object,
    number: 1.5,
    nothing: null,
  });
  const fails = (run: () => unknown, message: string) => expect(run).toThrow(message);
  fails(() => reader.integer("number", undefined, 0, 9), "number to be an integer from 0 to 9, got 1.5");
  fails(() => reader.integer("absent", undefined, 0, 9), "got nothing");
  fails(() => reader.positive("text"), '"\\u001b[31m"');
  fails(() => reader.boolean("list", true), "true or false, got a list");
  fails(() => reader.text("object", ""), "a string, got an object");
  fails(() => reader.tokenIds("number"), "a token id or a list of them");
  fails(() => reader.nested("list"), "an object, got a list");
  expect(reader.nested("nothing")).toBeUndefined();
  expect(reader.tokenIds("nothing")).toEqual([]);
});
