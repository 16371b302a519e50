import fc from "fast-check";
import { expect, test } from "vitest";
import { contiguousStrides, sizeOf } from "../shape.js";
import { commonRefinement, identityView, isIdentity, reshapeView, type View } from "./view.js";

/** The flat offsets that a view reads, in order. */
function offsets(view: View): number[] {
  const strides = contiguousStrides(view.dims);
  return Array.from({ length: sizeOf(view.dims) }, (_, i) =>
    strides.reduce((at, s, d) => at + (Math.floor(i / s) % view.dims[d]!) * view.strides[d]!, view.offset),
  );
}

/** All ways to write `size` as a product of factors. */
function factorings(size: number): number[][] {
  if (size === 1) return [[], [1]];
  const out: number[][] = [[size]];
  for (let n = 2; n <= size; n++) {
    if (size % n === 0) for (const rest of factorings(size / n)) out.push([n, ...rest]);
  }
  return out;
}

const dims = fc.array(fc.constantFrom(1, 2, 3, 4), { maxLength: 4 });

test("a reshaped view reads the same elements, and is refused only where no strides say it", () => {
  fc.assert(
    fc.property(dims, fc.infiniteStream(fc.integer({ min: -3, max: 6 })), (shape, numbers) => {
      const view: View = {
        dims: shape,
        offset: 100,
        strides: shape.map(() => numbers.next().value as number),
      };
      const read = offsets(view);
      for (const target of factorings(sizeOf(shape))) {
        const moved = reshapeView(view, target);
        if (moved) expect(offsets(moved)).toEqual(read);
        else {
          // Strides of the target are forced by single steps along each axis: they must fail to give the elements.
          const steps = contiguousStrides(target);
          const strides = steps.map((s, d) => (target[d] === 1 ? 0 : read[s]! - read[0]!));
          expect(offsets({ dims: target, offset: read[0]!, strides })).not.toEqual(read);
        }
      }
    }),
    { seed: 1, numRuns: 300 },
  );
});

test("a view is the identity exactly if it reads 0, 1, 2, ...", () => {
  fc.assert(
    fc.property(
      dims,
      fc.infiniteStream(fc.integer({ min: 0, max: 8 })),
      fc.boolean(),
      (shape, numbers, plain) => {
        const view = plain
          ? identityView(shape)
          : { dims: shape, offset: 0, strides: shape.map(() => numbers.next().value as number) };
        expect(isIdentity(view)).toBe(offsets(view).every((at, i) => at === i));
      },
    ),
    { seed: 2, numRuns: 500 },
  );
});

test("a common refinement splits into both shapes, and is found whenever there is one", () => {
  for (const a of factorings(24)) {
    for (const b of factorings(24)) {
      const both = commonRefinement(a, b);
      const cuts = (d: readonly number[]) => new Set(contiguousStrides(d.filter((n) => n !== 1)));
      const all = [...new Set([...cuts(a), ...cuts(b)])].sort((x, y) => x - y);
      const nested = all.every((c, i) => i === 0 || c % all[i - 1]! === 0);
      expect(both !== null).toBe(nested);
      if (both) {
        expect(cuts(both)).toEqual(new Set(all));
        expect(reshapeView(identityView(a), both)).not.toBeNull();
        expect(reshapeView(identityView(b), both)).not.toBeNull();
      }
    }
  }
});
