import { expect, test } from "vitest";
import { checkSettings, parseRunState, type SavedState } from "./run-state.js";

const state: SavedState = {
  step: 6,
  position: { epoch: 1, batch: 2 },
  tokens: 480,
  bestLoss: 2.5,
  evaluationsSinceBest: 1,
  evaluatedStep: 4,
  settings: { seed: 3, clipNorm: "none", data: "0a1b2c3d" },
  optimizerStep: 6,
};

test("a state that was written is read as it was", () => {
  expect(parseRunState(JSON.stringify(state), "s")).toEqual(state);
  expect(parseRunState(JSON.stringify({ ...state, bestLoss: null }), "s").bestLoss).toBeNull();
});

test.each([
  ["{", /^s: expected JSON/],
  ["[]", /the state to be an object/],
  [JSON.stringify({ ...state, step: -1 }), /step to be an integer of at least 0, got -1/],
  [JSON.stringify({ ...state, tokens: 2 ** 60 }), /tokens to be an integer/],
  [JSON.stringify({ ...state, position: { epoch: 0 } }), /batch to be an integer of at least 0, got nothing/],
  [JSON.stringify({ ...state, position: null }), /position to be an object, got null/],
  [JSON.stringify({ ...state, bestLoss: "2" }), /bestLoss to be a number or null/],
  [JSON.stringify({ ...state, settings: { seed: {} } }), /settings.seed to be a plain value/],
])("a state that no run wrote is refused: %s", (text, message) => {
  expect(() => parseRunState(text, "s")).toThrow(message);
});

test("settings that differ, are missing or are new are named", () => {
  const own = state.settings;
  expect(() => checkSettings("p", own, own)).not.toThrow();
  expect(() => checkSettings("p", { ...own, seed: 4 }, own)).toThrow(
    /^resume from p: expected seed 3, as the run began, got 4/,
  );
  const { seed: _, ...without } = own;
  expect(() => checkSettings("p", without, own)).toThrow(/expected seed 3/);
  expect(() => checkSettings("p", own, without)).toThrow(/seed undefined, as the run began, got 3/);
});
