import { DownloadError, parseHubName } from "@lowrank/models";
import { ConfigError } from "@lowrank/tensor";
import { command, common } from "../command.js";
import { filesToPush } from "../hub-files.js";
import { uploadFolder } from "../hub-upload.js";
import { name, operand, path, text, toggle } from "../options.js";
import { bytes, count } from "../output.js";

export const pushCommand = /* @__PURE__ */ command({
  name: "push",
  summary: "uploads a model or an adapter to the Hub",
  about:
    "Makes the repository if there is none and uploads the files of the folder in one commit, so that others see all of it or nothing. A folder without README.md gets a short one that names the base model. HF_TOKEN holds a token that may write; HF_ENDPOINT the address of another Hub.",
  options: {
    folder: operand(path("Folder of a model or of an adapter.", "FOLDER")),
    repo: operand(
      name("Repository on the Hub: owner/name, and @branch for one that is not main.", "NAME", "owner/name"),
    ),
    message: text("Title of the commit.", { value: "TEXT" }, { fallback: "Upload with lowrank" }),
    private: toggle("Make the repository private, if it is made."),
    list: toggle("Only tell what would be uploaded."),
    ...common,
  },
  headings: { message: "Options" },
  examples: [
    ["an adapter", "lowrank push runs/first/adapter owner/name"],
    ["what that would upload", "lowrank push runs/first/adapter owner/name --list"],
  ],
  async run(settings, { output, signal }) {
    const { repo, revision, file } = parseHubName(settings.repo);
    if (file !== undefined) {
      throw new ConfigError({
        where: "REPO",
        expected: "owner/name or owner/name@branch",
        got: settings.repo,
      });
    }
    const files = await filesToPush(settings.folder, repo);
    const sizeBytes = files.reduce((sum, { content }) => sum + content.size, 0);
    const listed = files.map(({ path, content }) => ({ path, sizeBytes: content.size }));
    let commit: { oid: string; url: string } | undefined;
    if (!settings.list) {
      const token = process.env["HF_TOKEN"];
      if (!token) {
        throw new ConfigError({
          where: "HF_TOKEN",
          expected: "a token of the Hub that may write",
          got: "nothing",
          hint: "make one in the settings of your account there and put it into this variable",
        });
      }
      const progress = output.progress(100, "uploading");
      const endpoint = process.env["HF_ENDPOINT"] || "https://huggingface.co";
      commit = await uploadFolder(
        {
          repo,
          branch: revision,
          files,
          title: settings.message,
          token,
          endpoint,
          makePrivate: settings.private,
          signal,
        },
        (share, what) => progress.show(Math.floor(100 * share), `%  ${what}`),
      );
      if (commit === undefined) {
        throw new DownloadError({ where: repo, expected: "a commit", got: "an answer without one" });
      }
      progress.end(`${count(files.length)} files, ${bytes(sizeBytes)}`);
    }
    output.record({ type: "push", repo, branch: revision, commit: commit?.oid, sizeBytes, files: listed });
    output.table([
      ...listed.map((f) => [f.path, bytes(f.sizeBytes)] as const),
      ...(commit === undefined ? [] : [["commit", `${commit.oid} on ${repo}`] as const]),
    ]);
  },
});
