import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { LIBRARIES, type Library } from "./libraries.js";
import type { Reply, Request } from "./protocol.js";

const root = fileURLToPath(new URL("../", import.meta.url));

/** The last line of an error output that names an error, or its last line. */
export function errorIn(output: string): string | null {
  const lines = output.split("\n").filter((line) => line.trim());
  return (
    (lines.findLast((line) => /^\w*(Error|Exception)\b.*:/.test(line)) ?? lines.at(-1) ?? null)?.trim() ??
    null
  );
}

/** The environment of a process that is to use so many threads. */
export function environment(lib: Library, threads: number): NodeJS.ProcessEnv {
  const used = LIBRARIES[lib].threads ?? threads;
  const env: NodeJS.ProcessEnv = { ...process.env, ...LIBRARIES[lib].env, BENCH_THREADS: String(used) };
  for (const name of ["OPENBLAS", "OMP", "MKL"]) env[`${name}_NUM_THREADS`] = String(used);
  // Kernels chosen by hand for another machine: the native libraries are to choose for this one.
  delete env["OPENBLAS_CORETYPE"];
  delete env["OPENBLAS_L2_SIZE"];
  return env;
}

/** A contender in a process of its own, asked by lines of JSON. */
export class ContenderProcess {
  private readonly replies: AsyncIterator<string>;
  private errors = "";
  details = "";
  threads = 1;
  adapter: string | undefined;

  private constructor(
    readonly lib: Library,
    private readonly child: ChildProcess,
  ) {
    this.replies = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
    child.stderr!.on("data", (data: Buffer) => {
      this.errors = (this.errors + data.toString()).slice(-8000);
    });
    child.stdin!.on("error", () => {}); // the process has ended: seen when its reply is missing
  }

  /** Starts a contender; a reason where its library is not there. */
  static async start(lib: Library, threads: number): Promise<ContenderProcess | string> {
    const { driver } = LIBRARIES[lib];
    if (!driver) return "has no driver";
    const file = fileURLToPath(new URL(`./contenders/${driver}`, import.meta.url));
    const python = process.env["BENCH_PYTHON"] ?? "python3";
    const [command, args] = file.endsWith(".py")
      ? [python, [file, lib]]
      : [process.execPath, ["--import", "tsx", file, lib]];
    const child = spawn(command, args, { env: environment(lib, threads), stdio: "pipe", cwd: root });
    const contender = new ContenderProcess(lib, child);
    const missing = new Promise<string>((resolve) =>
      child.once("error", () => resolve(`${command} is not on this machine`)),
    );
    const hello = await Promise.race([missing, contender.next()]);
    if (typeof hello === "string") return hello;
    if (!hello || !("hello" in hello)) {
      child.kill();
      return errorIn(contender.errors) ?? "its process ended at once";
    }
    contender.details = hello.details;
    contender.threads = hello.threads;
    contender.adapter = hello.adapter;
    return contender;
  }

  private async next(): Promise<Reply | null> {
    for (;;) {
      const { value, done } = await this.replies.next();
      if (done) return null;
      if (value.startsWith("{")) return JSON.parse(value) as Reply; // other lines are chatter of the library
    }
  }

  async ask(request: Request): Promise<Reply> {
    this.child.stdin!.write(`${JSON.stringify(request)}\n`);
    return (await this.next()) ?? { cannot: errorIn(this.errors) ?? "its process ended" };
  }

  async stop(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const gone = new Promise((resolve) => this.child.once("exit", resolve));
    this.child.stdin!.end();
    const late = setTimeout(() => this.child.kill("SIGKILL"), 2000);
    await gone;
    clearTimeout(late);
  }
}
