import type { KernelGroup, Operand, Value } from "@lowrank/tensor/backend";
import { ATTENTION, ATTENTION_BACKWARD, SUM_PARTS } from "../../assembly/ids.js";
import {
  type ArgWord,
  chunksOf,
  DTYPE_IDS,
  type EmitContext,
  f32Word,
  type Kernel,
  operandAt,
} from "../emit.js";
import { isNarrowFloat, scalarAddress, sizeOf, stridesAt } from "./operands.js";

/** Rows and keys of a block, as in assembly/attention.ts. */
const BLOCK = 64;
const SCORES_BYTES = BLOCK * 72 * 4;
/** Multiply-adds worth waking a thread for. */
const GRAIN = 1 << 19;
const NONE = 0;

/** Bytes of a packed row of n numbers. */
const packedRow = (n: number): number => (Math.ceil(n / 8) * 8 + 8) * 4;

interface AttentionArg {
  readonly scale: number;
  readonly causal: boolean;
  readonly mask: boolean;
}

interface Sizes {
  b: number;
  t: number;
  s: number;
  h: number;
  hk: number;
  d: number;
  dv: number;
}

function sizes(group: KernelGroup): Sizes {
  const [b, t, h, d] = operandAt(group, 0).dims as [number, number, number, number];
  const [, s, hk, dv] = operandAt(group, 2).dims as [number, number, number, number];
  return { b, t, s, h, hk, d, dv };
}

/** The words that forward and backward share. */
function words(group: KernelGroup, ctx: EmitContext, o: ArgWord, lse: ArgWord): ArgWord[] {
  const { scale, causal, mask } = group.arg as AttentionArg;
  const [q, k, v] = [0, 1, 2].map((i) => operandAt(group, i)) as [Operand, Operand, Operand];
  const { b, t, s, h, hk, d, dv } = sizes(group);
  const masks = mask ? operandAt(group, 4) : null;
  return [
    ctx.pointer(q),
    ctx.pointer(k),
    ctx.pointer(v),
    o,
    lse,
    masks ? ctx.pointer(masks) : NONE,
    scalarAddress(group, 3, ctx),
    b,
    t,
    s,
    h,
    hk,
    d,
    dv,
    f32Word(scale),
    causal ? 1 : 0,
    ...stridesAt(q, 0, 1, 2),
    ...stridesAt(k, 0, 1, 2),
    ...stridesAt(v, 0, 1, 2),
    ...(masks ? masks.strides : [0, 0, 0, 0]),
    DTYPE_IDS[q.dtype],
    DTYPE_IDS[k.dtype],
    DTYPE_IDS[v.dtype],
  ];
}

export const attentionKernel: Kernel = {
  supports: ({ inputs }) => isNarrowFloat(inputs[0]!.dtype),
  layout: (index) => (index < 3 ? "rows" : index === 4 ? "any" : "contiguous"),
  widens: (index) => index < 3,
  emit(group, ctx) {
    const [o, lse] = group.outputs;
    if (lse!.size === 0) return;
    const { b, t, s, h, hk, d, dv } = sizes(group);
    const span = spanOf(sizes(group));
    const [k, v] = [packedRow(d) * BLOCK, packedRow(dv) * BLOCK];
    ctx.scratch(SCORES_BYTES + 2 * k + v + 1024 + span * (k + v + 1024));
    const units = b * hk * Math.ceil((t * (h / hk)) / (BLOCK * span));
    const work = b * t * h * s * (d + dv);
    ctx.command(
      ATTENTION,
      [
        ...words(group, ctx, ctx.pointer(o!), ctx.pointer(lse!)),
        NONE,
        NONE,
        NONE,
        NONE,
        NONE,
        NONE,
        NONE,
        DTYPE_IDS[o!.dtype],
        ...[0, 0, 0, 0, 0, 0, NONE],
        span,
      ],
      chunksFor(units, work),
      Math.floor(work / GRAIN),
    );
  },
};

export const attentionBackwardKernel: Kernel = {
  supports: ({ inputs }) => inputs[0]!.dtype === "f32",
  layout: () => "rows",
  emit(group, ctx) {
    const last = group.inputs.length - 1;
    const [o, lse, dy] = [last - 2, last - 1, last].map((i) => operandAt(group, i)) as [
      Operand,
      Operand,
      Operand,
    ];
    const [dq, dk, dv] = group.outputs;
    const z = sizes(group);
    const [k, v] = [packedRow(z.d) * BLOCK, packedRow(z.dv) * BLOCK];
    const work = sizeOf(dq!.dims) * z.s * 5;
    const parts = partsOf(z, work);
    const span = Math.min(MOST_BLOCKS, Math.ceil(blocksOf(z) / parts));
    ctx.scratch(2 * SCORES_BYTES + 2 * (k + v) + 1024 + span * (3 * k + 2 * v + 1024));
    const partial = (x: Value): ArgWord => (parts > 1 ? ctx.workspace(parts * x.size * 4) : ctx.pointer(x));
    const [dks, dvs] = [partial(dk!), partial(dv!)];
    ctx.command(
      ATTENTION_BACKWARD,
      [
        ...words(group, ctx, ctx.pointer(o), ctx.pointer(lse)),
        ctx.pointer(dy),
        ...stridesAt(dy, 0, 1, 2),
        ctx.pointer(dq!),
        dks,
        dvs,
        DTYPE_IDS.f32,
        ...stridesAt(o, 0, 1, 2),
        ...stridesAt(lse, 0, 1, 2),
        parts,
        span,
      ],
      chunksFor(z.b * z.hk * parts, work),
      Math.floor(work / GRAIN),
    );
    if (parts === 1) return;
    for (const [from, to] of [
      [dks, dk!],
      [dvs, dv!],
    ] as const) {
      if (to.size > 0)
        ctx.command(SUM_PARTS, [from, ctx.pointer(to), to.size, parts], chunksOf(to.size * parts, 1 << 16));
    }
  },
};

/** Key heads, or parts of them, that keep threads busy. */
const BUSY = 8;

/** Most blocks of rows that share what is packed of a block of keys. */
const MOST_BLOCKS = 4;

/** Blocks of rows of one key head. */
const blocksOf = ({ t, h, hk }: Sizes): number => Math.ceil((t * (h / hk)) / BLOCK);

/** Blocks of rows that the forward pass takes together, where there is enough other work to share out. */
function spanOf(z: Sizes): number {
  const blocks = blocksOf(z);
  return Math.max(1, Math.min(MOST_BLOCKS, blocks, Math.floor((z.b * z.hk * blocks) / BUSY)));
}

/** Parts to cut each key head in, so that there is work for several threads when there are few heads. */
function partsOf(z: Sizes, work: number): number {
  const { b, hk } = z;
  const blocks = blocksOf(z);
  const wanted = Math.ceil(BUSY / Math.max(1, b * hk));
  return Math.max(1, Math.min(wanted, blocks >> 1, Math.floor(work / GRAIN)));
}

const chunksFor = (units: number, work: number): number =>
  Math.max(1, Math.min(units, 64, Math.floor(work / GRAIN)));
