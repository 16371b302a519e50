import { expect, test } from "vitest";
import { checkGradients, draw, expectClose, numbers } from "../../test/check-gradients.js";
import { conv1d, conv2d, convTranspose2d } from "./conv.js";
import { tensor } from "./create.js";
import { mul, square } from "./elementwise.js";
import { sum } from "./reduce.js";
import type { Tensor } from "../tensor.js";

interface Naive {
  stride: [number, number];
  pad: [[number, number], [number, number]];
  dilation: [number, number];
  groups: number;
}

/** Seven plain loops. */
function naive(x: Tensor, w: Tensor, { stride, pad, dilation, groups }: Naive): number[] {
  const [n, , h, wd] = x.shape as [number, number, number, number];
  const [o, cg, kh, kw] = w.shape as [number, number, number, number];
  const [a, b] = [numbers(x), numbers(w)];
  const c = cg * groups;
  const oh = Math.floor((h + pad[0][0] + pad[0][1] - dilation[0] * (kh - 1) - 1) / stride[0]) + 1;
  const ow = Math.floor((wd + pad[1][0] + pad[1][1] - dilation[1] * (kw - 1) - 1) / stride[1]) + 1;
  const y: number[] = [];
  for (let i = 0; i < n; i++)
    for (let f = 0; f < o; f++)
      for (let oy = 0; oy < oh; oy++)
        for (let ox = 0; ox < ow; ox++) {
          let total = 0;
          for (let q = 0; q < cg; q++)
            for (let ky = 0; ky < kh; ky++)
              for (let kx = 0; kx < kw; kx++) {
                const iy = oy * stride[0] - pad[0][0] + ky * dilation[0];
                const ix = ox * stride[1] - pad[1][0] + kx * dilation[1];
                if (iy < 0 || iy >= h || ix < 0 || ix >= wd) continue;
                const channel = Math.floor(f / (o / groups)) * cg + q;
                total += a[((i * c + channel) * h + iy) * wd + ix]! * b[((f * cg + q) * kh + ky) * kw + kx]!;
              }
          y.push(total);
        }
  return y;
}

test("conv2d agrees with plain loops over strides, padding, dilation and groups", () => {
  const cases: [number[], number[], Naive][] = [
    [
      [2, 3, 5, 6],
      [4, 3, 3, 2],
      {
        stride: [1, 1],
        pad: [
          [0, 0],
          [0, 0],
        ],
        dilation: [1, 1],
        groups: 1,
      },
    ],
    [
      [1, 4, 7, 5],
      [6, 2, 3, 3],
      {
        stride: [2, 1],
        pad: [
          [1, 1],
          [2, 0],
        ],
        dilation: [1, 2],
        groups: 2,
      },
    ],
    [
      [2, 3, 4, 4],
      [3, 1, 2, 2],
      {
        stride: [2, 3],
        pad: [
          [0, 1],
          [1, 1],
        ],
        dilation: [2, 1],
        groups: 3,
      },
    ],
    [
      [2, 3, 4, 4],
      [5, 3, 1, 1],
      {
        stride: [1, 1],
        pad: [
          [0, 0],
          [0, 0],
        ],
        dilation: [1, 1],
        groups: 1,
      },
    ],
  ];
  for (const [xd, wd, o] of cases) {
    const [x, w] = [draw(xd, 1), draw(wd, 2)];
    const y = conv2d(x, w, { stride: o.stride, padding: o.pad, dilation: o.dilation, groups: o.groups });
    expectClose(numbers(y), naive(x, w, o));
  }
});

test('"same" keeps ceil(n / stride) places and puts the odd one after', () => {
  const [x, w] = [draw([1, 1, 5, 6], 3), draw([1, 1, 2, 3], 4)];
  const y = conv2d(x, w, { padding: "same" });
  expect(y.shape).toEqual([1, 1, 5, 6]);
  expectClose(
    numbers(y),
    naive(x, w, {
      stride: [1, 1],
      pad: [
        [0, 1],
        [1, 1],
      ],
      dilation: [1, 1],
      groups: 1,
    }),
  );
  expect(conv2d(x, w, { padding: "same", stride: 2 }).shape).toEqual([1, 1, 3, 3]);
});

test("conv1d is conv2d of height 1, and the bias is added per channel", () => {
  const [x, w, bias] = [draw([2, 2, 7], 5), draw([3, 2, 3], 6), tensor([1, 2, 3], { dtype: "f64" })];
  const y = conv1d(x, w, { stride: 2, padding: [1, 0], dilation: 2, bias });
  const o: Naive = {
    stride: [1, 2],
    pad: [
      [0, 0],
      [1, 0],
    ],
    dilation: [1, 2],
    groups: 1,
  };
  const plain = naive(x.reshape([2, 2, 1, 7]), w.reshape([3, 2, 1, 3]), o);
  const places = y.shape[2]!;
  expectClose(
    numbers(y),
    plain.map((v, i) => v + 1 + (Math.floor(i / places) % 3)),
  );
});

// ⟨conv(x, w), y⟩ = ⟨x, convTranspose(y, w)⟩
test("convTranspose2d is the transpose of conv2d", () => {
  const options = { stride: [2, 1], padding: 1, dilation: [1, 2], groups: 2 } as const;
  const [x, w] = [draw([2, 4, 6, 7], 7), draw([6, 2, 3, 2], 8)];
  const y = conv2d(x, w, options);
  const dy = draw(y.shape, 9);
  const back = convTranspose2d(dy, w, { ...options, outputPadding: [1, 0] });
  expect(back.shape).toEqual(x.shape);
  expectClose(numbers(sum(mul(y, dy))), numbers(sum(mul(x, back))));
});

test("gradients agree with differences, twice", () => {
  const xs = [draw([2, 2, 4, 3], 10), draw([4, 1, 2, 2], 11), draw([4], 12)];
  checkGradients(
    (x, w, b) =>
      square(
        conv2d(x!, w!, {
          stride: [2, 1],
          padding: [
            [1, 0],
            [0, 1],
          ],
          groups: 2,
          bias: b!,
        }),
      ),
    xs,
    {
      second: true,
    },
  );
  checkGradients(
    (x, w) => convTranspose2d(x!, w!, { stride: 2, padding: 1 }),
    [draw([1, 2, 3, 2], 13), draw([2, 2, 3, 3], 14)],
  );
  checkGradients((x, w) => conv1d(x!, w!, { padding: "same" }), [draw([1, 2, 5], 15), draw([2, 2, 3], 16)]);
});

test("what does not fit is named", () => {
  const x = tensor(new Float32Array(2 * 3 * 4 * 4), { shape: [2, 3, 4, 4] });
  const w = tensor(new Float32Array(4 * 3 * 5 * 3), { shape: [4, 3, 5, 3] });
  expect(() => conv2d(x, w)).toThrow(
    /conv2d: expected an image \(with padding\) of at least 5 in height, got 4/,
  );
  expect(() => conv2d(x, w, { groups: 2 })).toThrow(/takes 3 channels in 2 groups/);
  expect(() => conv2d(x, w, { stride: 0 })).toThrow(/stride to be an integer ≥ 1, got 0/);
  expect(() => conv2d(x, w, { padding: 1, bias: tensor([1]) })).toThrow(/bias of shape \[4\], got \[1\]/);
  expect(() => conv1d(x, w)).toThrow(/conv1d: expected x of shape \[N, C, L\]/);
});
