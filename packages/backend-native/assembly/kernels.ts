// Numbers of the kernels. Plain TypeScript too.

export const WIDEN_HALVES = 0;
export const WIDEN_CODES = 1;
