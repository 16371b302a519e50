// Code that was not there when this instance was made: see src/linker.ts.

/** Brings new code into the table of this instance and returns the length of the table. */
// @ts-ignore: decorator
@external("env", "link")
declare function link(): i32;

/** Functions that can be called. */
let linked: i32 = 0;

/** Sees to it that function `number` of the table can be called. */
// @ts-ignore: decorator
@inline
export function expectLinked(number: i32): void {
  if (number >= linked) linked = link();
}
