export { gradients } from "./autograd.js";
export { compile } from "./compile.js";
export { defaultBackend, memory, setDefaultBackend } from "./default-backend.js";
export {
  type DType,
  decodeHost,
  DTYPES,
  dtypeBytes,
  encodeHost,
  type HostArray,
  isDType,
  isFloat,
  promote,
} from "./dtype.js";
export {
  ConfigError,
  DeviceError,
  DTypeError,
  type ErrorParts,
  LowrankError,
  ShapeError,
  StaleError,
} from "./errors.js";
export { evaluate, type Root } from "./evaluate.js";
export type { Backend, BackendMemory } from "./device.js";
export { type Aval, defineOp, type OpDef, type OpKind, type RefArray, type VjpContext } from "./op.js";
export { elu, gelu, geluTanh, leakyRelu, relu, silu, softplus } from "./ops/activation.js";
export {
  add,
  atan2,
  clamp,
  div,
  hypot,
  lerp,
  maximum,
  minimum,
  mul,
  neg,
  pow,
  remainder,
  square,
  sub,
  truncDivide,
} from "./ops/arithmetic.js";
export { type AttentionOptions, attention, scaledDotProductAttention } from "./ops/attention.js";
export { concat, split, stack } from "./ops/concat.js";
export { type Conv1dOptions, type ConvOptions, conv1d, conv2d, convTranspose2d } from "./ops/conv.js";
export {
  arange,
  type DTypeOption,
  eye,
  fromHost,
  full,
  iota,
  linspace,
  ones,
  onesLike,
  scalar,
  type TensorData,
  type TensorOptions,
  tensor,
  zeros,
  zerosLike,
} from "./ops/create.js";
export { type CrossEntropyOptions, crossEntropy } from "./ops/cross-entropy.js";
export { type DequantizeOptions, dequantize, type QuantizedFormat } from "./ops/dequantize.js";
export { einsum } from "./ops/einsum.js";
export {
  embedding,
  gather,
  oneHot,
  type ScatterOptions,
  scatterAdd,
  scatterAddAlongAxis,
  take,
  takeAlongAxis,
} from "./ops/gather.js";
export {
  and,
  cast,
  eq,
  ge,
  gt,
  isfinite,
  isnan,
  le,
  lt,
  ne,
  not,
  or,
  shiftLeft,
  shiftRight,
  where,
  xor,
} from "./ops/logic.js";
export {
  abs,
  acos,
  asin,
  atan,
  ceil,
  cos,
  cosh,
  erf,
  erfinv,
  exp,
  expm1,
  floor,
  log,
  log1p,
  logaddexp,
  reciprocal,
  round,
  rsqrt,
  sigmoid,
  sign,
  sin,
  sinh,
  sqrt,
  tan,
  tanh,
  trunc,
} from "./ops/math.js";
export { matmul } from "./ops/matmul.js";
export {
  broadcastTo,
  expandDims,
  flatten,
  flip,
  moveaxis,
  permute,
  type Range,
  repeat,
  reshape,
  slice,
  squeeze,
  stopGradient,
  swapaxes,
  tile,
  transpose,
  unsqueeze,
} from "./ops/movement.js";
export { layerNorm, rmsNorm } from "./ops/norm.js";
export { pad } from "./ops/pad.js";
export { avgPool1d, avgPool2d, maxPool1d, maxPool2d } from "./ops/pool.js";
export { type Activations, type QuantizedMatmulOptions, quantizedMatmul } from "./ops/quantized-matmul.js";
export {
  bernoulli,
  bits,
  categorical,
  dropout,
  gumbel,
  Key,
  key,
  normal,
  permutation,
  randint,
  uniform,
} from "./ops/random.js";
export {
  all,
  any,
  logsumexp,
  max,
  mean,
  min,
  norm,
  prod,
  type ReduceOptions,
  std,
  sum,
  variance,
} from "./ops/reduce.js";
export { inverseFrequencies, type RopeOptions, type RopeScaling, rope } from "./ops/rope.js";
export { cumsum } from "./ops/scan.js";
export { logSoftmax, softmax } from "./ops/softmax.js";
export { argmax, argmin, argsort, sort, topK } from "./ops/sort.js";
export { tril, triu } from "./ops/triangle.js";
export { updateSlice } from "./ops/update-slice.js";
export { Assignment } from "./cell.js";
export { Parameter, type ParameterOptions, parameter } from "./parameter.js";
export { planStats } from "./plan-cache.js";
export type { Dims } from "./shape.js";
export { apply, applyMulti, type NestedNumbers, Tensor, type TensorLike } from "./tensor.js";
export {
  type CustomBackward,
  checkpoint,
  customVjp,
  type GradOptions,
  grad,
  valueAndGrad,
  vjp,
} from "./transform.js";
