import { type HubFile, openHub } from "@lowrank/models";
import { command, common } from "../command.js";
import { name, operand, toggle } from "../options.js";
import { bytes, count, type Output } from "../output.js";

export const pullCommand = /* @__PURE__ */ command({
  name: "pull",
  summary: "fetches a model from the Hub into the cache",
  about:
    "Fetches the configuration, the tokenizer and the weights (safetensors, or a GGUF file) of a model, at the commit that the revision is now. What was broken off is taken up again; every file is verified by its checksum. Afterwards each command takes the name in place of a folder. The cache is ~/.cache/lowrank unless LOWRANK_CACHE names another; HF_TOKEN holds a token for private models, HF_ENDPOINT the address of another Hub.",
  options: {
    model: operand(
      name(
        "Model on the Hub: owner/name, owner/name@revision, and :file for one of several GGUF files.",
        "NAME",
        "owner/name",
      ),
    ),
    list: toggle("Only tell what would be fetched."),
    ...common,
  },
  headings: { list: "Options" },
  examples: [
    ["the newest version", "lowrank pull HuggingFaceTB/SmolLM2-135M-Instruct"],
    ["one file at a tag", "lowrank pull owner/name@v1:model.Q4_K_M.gguf"],
  ],
  async run(settings, { output, signal }) {
    const watch = new Watch(output);
    const hub = await openHub(settings.model, { signal, onProgress: (event) => watch.show(event) });
    const files = hub.modelFiles();
    const sizeBytes = files.reduce((sum, file) => sum + file.size, 0);
    if (!settings.list) {
      watch.begin(files);
      await hub.fetch(files);
      watch.end(`${count(files.length)} files, ${bytes(sizeBytes)}`);
    }
    const path = settings.list ? undefined : hub.path;
    const listed = files.map(({ path, size, key }) => ({ path, sizeBytes: size, checksum: key }));
    output.record({ type: "pull", repo: hub.repo, commit: hub.commit, path, sizeBytes, files: listed });
    output.table([
      ["model", `${hub.repo} at ${hub.commit}`],
      ...files.map(({ path, size }) => [path, bytes(size)] as const),
      ...(path === undefined ? [] : [["folder", path] as const]),
    ]);
  },
});

/** One progress over all files, in bytes. */
class Watch {
  private readonly done = new Map<string, number>();
  private total = 0;
  private progress: ReturnType<Output["progress"]> | undefined;

  constructor(private readonly output: Output) {}

  begin(files: readonly HubFile[]): void {
    this.total = files.reduce((sum, { size }) => sum + size, 0);
  }

  show({ file, done }: { file: string; done: number }): void {
    this.progress ??= this.output.progress(100, "fetching");
    this.done.set(file, done);
    const sum = [...this.done.values()].reduce((a, b) => a + b, 0);
    const percent = Math.floor((100 * sum) / Math.max(1, this.total));
    this.progress.show(percent, `%  ${file}, ${bytes(sum)} of ${bytes(this.total)}`);
  }

  end(text: string): void {
    if (this.progress === undefined) this.output.note(`${text}, all in the cache`);
    else this.progress.end(text);
  }
}
