import type { Kernel } from "../emit.js";
import { matmulKernel } from "./matmul.js";

/** The kernels by the name of their op. */
export const kernels: Readonly<Record<string, Kernel>> = {
  matmul: matmulKernel,
};
