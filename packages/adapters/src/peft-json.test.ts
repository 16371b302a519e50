import { expect, test } from "vitest";
import { numberField, refuseField, refuseFields } from "./peft-json.js";

test("fields that change what is computed are refused where they are set, and not where they say nothing", () => {
  expect(() =>
    refuseFields({ use_dora: false, bias: "none" }, ["use_dora", "layer_replication"]),
  ).not.toThrow();
  expect(() => refuseFields({}, ["use_dora"])).not.toThrow();
  expect(() => refuseFields({ layer_replication: [[0, 4]] }, ["layer_replication"])).toThrow(
    "adapter_config.json: expected no layer_replication, got layer_replication [[0,4]]",
  );
  expect(() => refuseFields({ bias: "all" }, [])).toThrow('expected bias "none", got bias "all"');
});

test("a number is taken, left to its default, or refused", () => {
  expect(numberField({ r: 4 }, "r", 8)).toBe(4);
  expect(numberField({}, "r", 8)).toBe(8);
  expect(numberField({ r: null }, "r", 8)).toBe(8);
  expect(() => numberField({ r: "4" }, "r", 8)).toThrow('expected r to be a number, got r "4"');
});

test("a long value is cut in the message, and one that is missing is told", () => {
  expect(() => refuseField({ x: "a".repeat(500) }, "x", "less")).toThrow(/^.{0,200}$/);
  expect(() => refuseField({}, "x", "something")).toThrow("got x undefined");
});
