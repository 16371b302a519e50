// As much of the ONNX format (onnx.proto3, IR version 9) as the rows need, written as protobuf bytes.

/** Element types of TensorProto.DataType. */
const TYPES = { f32: 1, u8: 2, i64: 7, f16: 10 } as const;
type ElementType = keyof typeof TYPES;

export interface OnnxTensor {
  type: ElementType;
  shape: readonly number[];
  data: ArrayBufferView;
}

export interface OnnxNode {
  op: string;
  inputs: readonly string[];
  output: string;
  /** Whole numbers, or numbers marked as floats. */
  attributes?: Readonly<Record<string, number | { float: number }>>;
  /** Empty for the operators of the standard. */
  domain?: string;
}

export interface OnnxGraph {
  nodes: readonly OnnxNode[];
  /** Tensors that the model holds, by name. */
  constants: Readonly<Record<string, OnnxTensor>>;
  outputs: Readonly<Record<string, { type: ElementType; shape: readonly number[] }>>;
}

const OPSET = 20; // the first with Gelu
const IR_VERSION = 9; // of the release that brought this opset

type Piece = Uint8Array;
const text = new TextEncoder();

function varint(value: number): Piece {
  const out: number[] = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  for (; rest > 127n; rest >>= 7n) out.push(Number(rest & 127n) | 128);
  return Uint8Array.from([...out, Number(rest)]);
}

const size = (pieces: readonly Piece[]): number => pieces.reduce((n, p) => n + p.length, 0);
const tag = (field: number, wire: 0 | 2 | 5): Piece => varint(field * 8 + wire);
const whole = (field: number, value: number): Piece[] => [tag(field, 0), varint(value)];
const float = (field: number, value: number): Piece[] => [
  tag(field, 5),
  new Uint8Array(new Float32Array([value]).buffer),
];
/** A message, string or bytes of known length: large data is passed on, not copied. */
const part = (field: number, content: readonly Piece[]): Piece[] => [
  tag(field, 2),
  varint(size(content)),
  ...content,
];
const string = (field: number, value: string): Piece[] => part(field, [text.encode(value)]);

function attribute(name: string, value: number | { float: number }): Piece[] {
  const [kind, content] = typeof value === "number" ? [2, whole(3, value)] : [1, float(2, value.float)];
  return part(5, [...string(1, name), ...content, ...whole(20, kind)]);
}

const node = ({ op, inputs, output, attributes = {}, domain = "" }: OnnxNode): Piece[] =>
  part(1, [
    ...inputs.flatMap((name) => string(1, name)),
    ...string(2, output),
    ...string(4, op),
    ...Object.entries(attributes).flatMap(([name, value]) => attribute(name, value)),
    ...string(7, domain),
  ]);

const constant = (name: string, { type, shape, data }: OnnxTensor): Piece[] =>
  part(5, [
    ...shape.flatMap((n) => whole(1, n)),
    ...whole(2, TYPES[type]),
    ...string(8, name),
    ...part(9, [new Uint8Array(data.buffer, data.byteOffset, data.byteLength)]),
  ]);

function output(name: string, { type, shape }: { type: ElementType; shape: readonly number[] }): Piece[] {
  const dims = shape.flatMap((n) => part(1, whole(1, n)));
  const tensor = part(1, [...whole(1, TYPES[type]), ...part(2, dims)]);
  return part(12, [...string(1, name), ...part(2, tensor)]);
}

const opset = (domain: string, version: number): Piece[] =>
  part(8, [...string(1, domain), ...whole(2, version)]);

/** The bytes of a model without inputs: all that it needs are its constants. */
export function onnxModel({ nodes, constants, outputs }: OnnxGraph): Uint8Array<ArrayBuffer> {
  const graph = [
    ...nodes.flatMap(node),
    ...string(2, "row"),
    ...Object.entries(constants).flatMap(([name, tensor]) => constant(name, tensor)),
    ...Object.entries(outputs).flatMap(([name, type]) => output(name, type)),
  ];
  const pieces = [
    ...whole(1, IR_VERSION),
    ...part(7, graph),
    ...opset("", OPSET),
    ...opset("com.microsoft", 1),
  ];
  const out = new Uint8Array(size(pieces));
  let at = 0;
  for (const piece of pieces) {
    out.set(piece, at);
    at += piece.length;
  }
  return out;
}
