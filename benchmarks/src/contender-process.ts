import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { Reply, Request } from "./protocol.js";

const path = (name: string): string => fileURLToPath(new URL(`./contenders/${name}`, import.meta.url));

/** A contender in a process of its own. */
export class ContenderProcess {
  private readonly replies: AsyncIterator<string>;
  details = "";
  private errors = "";

  private constructor(
    readonly lib: string,
    private readonly child: ChildProcess,
  ) {
    this.replies = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
    child.stderr!.on("data", (data: Buffer) => {
      this.errors = (this.errors + data.toString()).slice(-2000);
    });
  }

  /** Starts a contender; a reason where it is not there. */
  static async start(lib: string, threads: number): Promise<ContenderProcess | string> {
    const native = lib === "numpy" || lib === "torch";
    const env: NodeJS.ProcessEnv = {
      ...process.env,
      BENCH_THREADS: String(threads),
      OPENBLAS_NUM_THREADS: String(threads),
      OMP_NUM_THREADS: String(threads),
      MKL_NUM_THREADS: String(threads),
    };
    // Limits that suit an older library; the one under test picks its kernels itself.
    delete env["OPENBLAS_CORETYPE"];
    delete env["OPENBLAS_L2_SIZE"];
    const child = native
      ? spawn(process.env["BENCH_PYTHON"] ?? "python3", [path("native.py"), lib], { env, stdio: "pipe" })
      : spawn(process.execPath, ["--import", "tsx", path(`${lib === "lowrank-wasm" ? "lowrank" : lib}.ts`)], {
          env,
          stdio: "pipe",
        });
    child.stdin!.on("error", () => {});
    const failed = new Promise<null>((resolve) => child.once("error", () => resolve(null)));
    const contender = new ContenderProcess(lib, child);
    const hello = await Promise.race([contender.next(), failed]);
    if (!hello || !("hello" in hello)) {
      const reason = contender.errors.trim().split("\n").at(-1) || "did not start";
      child.kill();
      return reason;
    }
    contender.details = hello.details;
    return contender;
  }

  private async next(): Promise<Reply | null> {
    for (;;) {
      const { value, done } = await this.replies.next();
      if (done) return null;
      if (value.startsWith("{")) return JSON.parse(value) as Reply;
    }
  }

  async ask(request: Request): Promise<Reply> {
    this.child.stdin!.write(`${JSON.stringify(request)}\n`);
    return (await this.next()) ?? { cannot: this.errors.trim().split("\n").at(-1) || "its process ended" };
  }

  async stop(): Promise<void> {
    this.child.stdin!.end();
    const gone = new Promise((resolve) => this.child.once("exit", resolve));
    setTimeout(() => this.child.kill("SIGKILL"), 2000).unref();
    await gone;
  }
}
