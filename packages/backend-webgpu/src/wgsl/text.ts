/** `n` texts in a row. */
export const seq = (n: number, text: (i: number) => string, join = "\n"): string =>
  Array.from({ length: n }, (_, i) => text(i)).join(join);

/** The name of a vector's lane. */
export const lane = (i: number): string => "xyzw"[i % 4]!;
