import { spawnSync } from "node:child_process";

const INTERPRETERS = [process.env["LOWRANK_PYTHON"], "python3"].filter((path) => path !== undefined);

/** A Python that has numpy, and which numpy. */
export const python = INTERPRETERS.flatMap((path) => {
  const { status, stdout } = spawnSync(path, ["-c", "import numpy; print(numpy.__version__)"], {
    encoding: "utf8",
  });
  return status === 0 ? [{ path, numpy: stdout.trim() }] : [];
})[0];

if (!python) console.warn("skipped: no Python with numpy (LOWRANK_PYTHON names one)");

/** What a program prints as JSON that reads `input` as JSON from its standard input. */
export function runPython(program: string, input: unknown): unknown {
  const { status, stdout, stderr } = spawnSync(python!.path, ["-c", program], {
    input: JSON.stringify(input),
    encoding: "utf8",
    maxBuffer: 1 << 28,
  });
  if (status !== 0) throw new Error(`python: ${stderr}`);
  return JSON.parse(stdout);
}
