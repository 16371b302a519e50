import { access, type Dispatch } from "./shader.js";

/** A compute pipeline that is being compiled, with the layout of its buffers, which is there at once. */
export interface Pipeline {
  readonly layout: GPUBindGroupLayout;
  /** Rejects with a `ShaderFault`. */
  readonly ready: Promise<GPUComputePipeline>;
  /** Set when `ready` has resolved. */
  compiled: GPUComputePipeline | null;
}

/** Why a shader did not compile, with the lines it is about. */
export class ShaderFault extends Error {}

/** Pipelines of one device by the text of their shader, and the layouts that they share. */
export class Pipelines {
  private readonly byCode = new Map<string, Pipeline>();
  private readonly layouts = new Map<string, { group: GPUBindGroupLayout; pipeline: GPUPipelineLayout }>();
  /** The uniform block of a dispatch at a dynamic offset, and the scalars of the plan. */
  readonly uniforms: GPUBindGroupLayout;

  constructor(private readonly device: GPUDevice) {
    const uniform = (binding: number, hasDynamicOffset: boolean): GPUBindGroupLayoutEntry => ({
      binding,
      visibility: 4, // COMPUTE
      buffer: { type: "uniform", hasDynamicOffset },
    });
    this.uniforms = device.createBindGroupLayout({ entries: [uniform(0, true), uniform(1, false)] });
  }

  get count(): number {
    return this.byCode.size;
  }

  /** The pipeline of a dispatch; its compilation starts at the first call. */
  of(dispatch: Dispatch): Pipeline {
    const { code } = dispatch;
    let found = this.byCode.get(code);
    if (!found) this.byCode.set(code, (found = this.compile(dispatch)));
    return found;
  }

  private compile({ name, code, bindings }: Dispatch): Pipeline {
    const modes = bindings.map(({ of, write }) => (access(of, write) === "read" ? "r" : "w")).join("");
    const { group, pipeline } = this.layoutOf(modes);
    this.device.pushErrorScope("validation"); // what is wrong with the text is told with the pipeline
    const module = this.device.createShaderModule({ code, label: name });
    this.device.popErrorScope().catch(() => {});
    const result: Pipeline = {
      layout: group,
      compiled: null,
      ready: this.device
        .createComputePipelineAsync({
          layout: pipeline,
          compute: { module, entryPoint: "main" },
          label: name,
        })
        .then(
          (compiled) => (result.compiled = compiled),
          async (cause: unknown) => {
            this.byCode.delete(code);
            throw await faultOf(code, module, cause);
          },
        ),
    };
    result.ready.catch(() => {}); // told to whoever runs the plan
    return result;
  }

  private layoutOf(modes: string): { group: GPUBindGroupLayout; pipeline: GPUPipelineLayout } {
    let found = this.layouts.get(modes);
    if (!found) {
      const group = this.device.createBindGroupLayout({
        entries: [...modes].map((mode, binding) => ({
          binding,
          visibility: 4,
          buffer: { type: mode === "r" ? ("read-only-storage" as const) : ("storage" as const) },
        })),
      });
      const pipeline = this.device.createPipelineLayout({ bindGroupLayouts: [group, this.uniforms] });
      this.layouts.set(modes, (found = { group, pipeline }));
    }
    return found;
  }
}

async function faultOf(code: string, module: GPUShaderModule, cause: unknown): Promise<ShaderFault> {
  let messages: string[] = [];
  try {
    const info = await module.getCompilationInfo();
    const errors = info.messages.filter((m) => m.type === "error");
    const lines = code.split("\n");
    messages = errors.map(
      ({ lineNum, linePos, message }) =>
        `line ${lineNum}:${linePos}, ${message}${lines[lineNum - 1] ? ` in "${lines[lineNum - 1]!.trim()}"` : ""}`,
    );
  } catch {
    // the device is gone: the cause says so
  }
  return new ShaderFault(messages.join("; ") || (cause instanceof Error ? cause.message : String(cause)), {
    cause,
  });
}
