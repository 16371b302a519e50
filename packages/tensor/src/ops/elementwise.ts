/** The element-wise ops: arithmetic, functions of one number, comparisons, bits, selection and casts. */
export * from "./arithmetic.js";
export * from "./logic.js";
export * from "./math.js";
