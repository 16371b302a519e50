import { beforeAll, expect, test } from "vitest";
import "../evaluate.js";
import { gradients } from "../autograd.js";
import { setDefaultBackend } from "../default-backend.js";
import { reference } from "../reference/backend.js";
import { arange, ones, tensor, zeros } from "./create.js";
import { einsum } from "./einsum.js";
import { matmul } from "./matmul.js";
import { reshape } from "./movement.js";

beforeAll(() => setDefaultBackend(reference()));

const grid = (...dims: number[]) =>
  reshape(
    arange(
      dims.reduce((a, b) => a * b, 1),
      null,
      1,
      { dtype: "f32" },
    ),
    dims,
  );

test("matrices, vectors and batches multiply as in NumPy", async () => {
  expect(
    await matmul(
      tensor([
        [1, 2],
        [3, 4],
      ]),
      tensor([
        [5, 6],
        [7, 8],
      ]),
    ).toArray(),
  ).toEqual([
    [19, 22],
    [43, 50],
  ]);
  expect(await matmul(tensor([1, 2]), tensor([3, 4])).item()).toBe(11);
  expect(matmul(tensor([1, 2]), ones([2, 5])).shape).toEqual([5]);
  expect(matmul(ones([3, 4, 2]), tensor([1, 2])).shape).toEqual([3, 4]);
  expect(matmul(ones([3, 1, 4, 2]), ones([5, 2, 6])).shape).toEqual([3, 5, 4, 6]);
  expect(matmul(tensor([1, 2]), ones([7, 2, 3])).shape).toEqual([7, 3]);
  expect(await matmul(zeros([2, 0]), zeros([0, 2])).toArray()).toEqual([
    [0, 0],
    [0, 0],
  ]);
  expect(matmul(ones([2, 2], { dtype: "f16" }), ones([2, 2])).dtype).toBe("f32");
});

test("inner sizes that differ are named", () => {
  expect(() => matmul(ones([32, 64]), ones([48, 16]))).toThrow(
    "matmul: expected b of shape [..., 64, n] to follow a of shape [32, 64], got [48, 16]",
  );
});

test("one matrix for a whole batch collects its gradient from all of it", async () => {
  const [x, w] = [ones([3, 4, 2]), ones([2, 5])];
  const [dx, dw] = gradients(matmul(x, w).sum(), [x, w]);
  expect(dx!.shape).toEqual([3, 4, 2]);
  expect(await dw!.toArray()).toEqual(Array.from({ length: 2 }, () => new Array(5).fill(12)));
});

test("einsum agrees with sums, products, traces and transposes", async () => {
  const [a, b] = [grid(2, 3), grid(3, 4)];
  expect(await einsum("ij,jk->ik", a, b).toArray()).toEqual(await matmul(a, b).toArray());
  expect(await einsum("ij,jk", a, b).toArray()).toEqual(await matmul(a, b).toArray());
  expect(await einsum("ij->ji", a).toArray()).toEqual(await a.T.toArray());
  expect(await einsum("ij->", a).item()).toBe(15);
  expect(await einsum("ii->i", grid(3, 3)).toArray()).toEqual([0, 4, 8]);
  expect(await einsum("ii", grid(3, 3)).item()).toBe(12);
  expect(await einsum("i,j->ji", tensor([1, 2]), tensor([3, 4])).toArray()).toEqual([
    [3, 6],
    [4, 8],
  ]);
  expect(await einsum("ij,ij->i", a, a).toArray()).toEqual([5, 50]);
  const [q, k] = [grid(2, 3, 4), grid(2, 5, 4)];
  expect(await einsum("bid,bjd->bij", q, k).toArray()).toEqual(await matmul(q, k.T).toArray());
  // a[i,j] b[j,k] c[k,l] summed over j and k
  const c = grid(4, 2);
  expect(await einsum("ij,jk,kl->il", a, b, c).toArray()).toEqual(await matmul(matmul(a, b), c).toArray());
});

test("einsum refuses what does not fit, in words", () => {
  expect(() => einsum("ij,jk->ik", ones([2, 3]), ones([4, 5]))).toThrow(
    'einsum: expected size 3 for "j", got 4 in operand 1',
  );
  expect(() => einsum("ij->ik", ones([2, 3]))).toThrow(/letters of the operands in the result, got "k"/);
  expect(() => einsum("ij", ones([2]))).toThrow(/2 axes in operand 0/);
  expect(() => einsum("ij,j", ones([2, 2]))).toThrow(/2 operands/);
});
