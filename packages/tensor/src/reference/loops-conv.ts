import { type Col2imArg, type Im2colArg, type Pair, type Window, windowCounts } from "../ops/conv.js";
import { sizeOf } from "../shape.js";
import type { Loop } from "./loops.js";

/**
 * Calls `f` with the place in the columns and the place in the image (-1 in the padding), for every channel image, every
 * place of the kernel and every window.
 */
function eachTap(
  images: number,
  size: Pair,
  window: Window,
  f: (column: number, pixel: number) => void,
): void {
  const { kernel, stride, padding, dilation } = window;
  const [oh, ow] = windowCounts("im2col", size, window);
  let column = 0;
  for (let c = 0; c < images; c++) {
    for (let ky = 0; ky < kernel[0]; ky++) {
      for (let kx = 0; kx < kernel[1]; kx++) {
        for (let oy = 0; oy < oh; oy++) {
          for (let ox = 0; ox < ow; ox++, column++) {
            const y = oy * stride[0] - padding[0][0] + ky * dilation[0];
            const x = ox * stride[1] - padding[1][0] + kx * dilation[1];
            const inside = y >= 0 && y < size[0] && x >= 0 && x < size[1];
            f(column, inside ? (c * size[0] + y) * size[1] + x : -1);
          }
        }
      }
    }
  }
}

export const im2col: Loop<Im2colArg> = ([x], arg, [out]) => {
  const [n, c, h, w] = x!.dims as [number, number, number, number];
  const outside = arg.fill === 0 ? 0 : Number.NEGATIVE_INFINITY;
  const y = new Float64Array(sizeOf(out!.dims));
  eachTap(n * c, [h, w], arg, (column, pixel) => {
    y[column] = pixel < 0 ? outside : x!.data[pixel]!;
  });
  return y;
};

export const col2im: Loop<Col2imArg> = ([columns], arg, [out]) => {
  const y = new Float64Array(sizeOf(out!.dims));
  eachTap(out!.dims[0]! * out!.dims[1]!, arg.size, arg, (column, pixel) => {
    if (pixel >= 0) y[pixel]! += columns!.data[column]!;
  });
  return y;
};
