import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { COMMIT, FakeHub } from "../../models/test/fake-hub.js";
import { makeModel, run } from "./harness.js";

const scratch = mkdtempSync(join(tmpdir(), "cli-hub-"));
afterAll(() => rmSync(scratch, { recursive: true }));
const at = (...parts: string[]): string => join(scratch, ...parts);
const filesOf = (folder: string): Record<string, Uint8Array> =>
  Object.fromEntries(
    readdirSync(folder).map((name) => [name, new Uint8Array(readFileSync(join(folder, name)))]),
  );

const VARIABLES = ["HF_ENDPOINT", "HF_TOKEN", "LOWRANK_CACHE", "LOWRANK_OFFLINE"] as const;
const before = VARIABLES.map((name) => process.env[name]);
let hub: FakeHub;
beforeAll(() => makeModel(at("model")));
beforeEach(async () => {
  hub = await FakeHub.start({ oneHost: true });
  process.env["HF_ENDPOINT"] = hub.api.origin;
  process.env["LOWRANK_CACHE"] = at("cache");
  delete process.env["HF_TOKEN"];
  rmSync(at("cache"), { recursive: true, force: true });
});
afterEach(async () => {
  await hub.stop();
  VARIABLES.forEach((name, i) => {
    if (before[i] === undefined) delete process.env[name];
    else process.env[name] = before[i];
  });
});

describe("pull", () => {
  test("fetches a model, which every command then takes by its name, offline too", async () => {
    hub.publish(filesOf(at("model")));
    const missing = await run(["info", "owner/name"]);
    expect(missing.status).toBe(1);
    expect(missing.stderr).toMatch(/fetch it with a connection: lowrank pull owner\/name/);
    expect(hub.api.asked).toEqual([]);
    const pulled = await run(["pull", "owner/name", "--json"]);
    expect(pulled.stderr).toBe("");
    const [record] = pulled.records as [{ path: string; commit: string; files: { path: string }[] }];
    expect(record.commit).toBe(COMMIT);
    expect(record.files.map(({ path }) => path).sort()).toEqual([
      "config.json",
      "manifest.json",
      "model.safetensors",
      "tokenizer.json",
      "tokenizer_config.json",
    ]);
    expect(readFileSync(join(record.path, "model.safetensors"))).toEqual(
      readFileSync(at("model", "model.safetensors")),
    );
    process.env["LOWRANK_OFFLINE"] = "1";
    expect((await run(["info", "owner/name"])).stdout).toMatch(/architecture +LlamaForCausalLM/);
    const args = ["--prompt", "the whale", "--max-tokens", "4", "--temperature", "0", "--threads", "1"];
    const there = await run(["generate", at("model"), ...args]);
    const here = await run(["generate", "owner/name", ...args]);
    expect(here.stderr).toBe("");
    expect(here.stdout).toBe(there.stdout);
  });

  test("tells how far it is on standard error, and where the model lies on standard output", async () => {
    hub.publish(filesOf(at("model")));
    const { status, stdout, stderr } = await run(["pull", "owner/name"]);
    expect(status).toBe(0);
    expect(stderr).toMatch(/100\/100 {2}% {2}\S+, .+ of /);
    expect(stdout).toMatch(new RegExp(`folder +\\S+${COMMIT}`));
    const again = await run(["pull", "owner/name"]);
    expect(again.stderr).toMatch(/5 files, .+, all in the cache/);
  });

  test("lists without fetching", async () => {
    hub.publish(filesOf(at("model")));
    const { stdout } = await run(["pull", "owner/name@main", "--list"]);
    expect(stdout).toMatch(/model\.safetensors/);
    expect(hub.api.asked.filter(({ path }) => path.includes("/resolve/"))).toEqual([]);
  });

  test.each([
    [["pull"], 2, /MODEL: expected owner\/name, got nothing/],
    [["pull", "no-owner"], 1, /Hub: expected owner\/name, owner\/name@revision or owner\/name@revision:file/],
    [["pull", "owner/absent"], 1, /owner\/absent@main: expected it on http.+ got status 404; check the name/],
  ])("%j is refused", async (args, status, message) => {
    const ran = await run(args);
    expect(ran.status).toBe(status);
    expect(ran.stderr).toMatch(message);
  });

  test("refuses pickles with the way to convert them", async () => {
    hub.publish({ "config.json": new Uint8Array([123, 125]), "pytorch_model.bin": new Uint8Array([128]) });
    const { stderr } = await run(["pull", "owner/name"]);
    expect(stderr).toMatch(/"pytorch_model\.bin", a pickle file that runs code when it is read; convert it/);
  });
});

describe("push", () => {
  beforeEach(() => {
    rmSync(at("adapter"), { recursive: true, force: true });
    mkdirSync(at("adapter"));
    writeFileSync(
      at("adapter", "adapter_config.json"),
      JSON.stringify({ peft_type: "LORA", r: 4, base_model_name_or_path: "base/model" }),
    );
    writeFileSync(at("adapter", "adapter_model.safetensors"), new Uint8Array(200_000).fill(7));
    writeFileSync(at("adapter", "manifest.json"), "{}");
    writeFileSync(at("adapter", ".secret"), "x");
  });

  test("uploads in one commit what pull then gives back, with a card that names the base", async () => {
    hub.acceptPushes("hf_write");
    process.env["HF_TOKEN"] = "hf_write";
    const pushed = await run([
      "push",
      at("adapter"),
      "owner/name",
      "--message",
      "first",
      "--private",
      "--json",
    ]);
    expect(pushed.stderr).toBe("");
    expect(pushed.records[0]).toMatchObject({
      type: "push",
      repo: "owner/name",
      branch: "main",
      commit: COMMIT,
    });
    expect(hub.pushes).toHaveLength(1);
    const { title, files } = hub.pushes[0]!;
    expect(title).toBe("first");
    expect([...files.keys()].sort()).toEqual([
      "README.md",
      "adapter_config.json",
      "adapter_model.safetensors",
    ]);
    expect(files.get("adapter_model.safetensors")).toEqual(new Uint8Array(200_000).fill(7));
    expect(new TextDecoder().decode(files.get("README.md"))).toBe(
      "---\nlibrary_name: peft\nbase_model: base/model\n---\n\n# name\n\nLORA of rank 4 for base/model, in PEFT's form.\n",
    );
    expect(hub.created).toMatchObject([{ name: "name", organization: "owner", visibility: "private" }]);
    // The token went to the Hub and not to its storage.
    const uploads = hub.api.asked.filter(({ path }) => path.startsWith("/upload/"));
    expect(uploads).toHaveLength(0);
    expect(hub.content.asked.filter(({ method }) => method === "PUT").map((a) => a.authorization)).toEqual([
      undefined,
    ]);

    const pulled = await run(["pull", "owner/name:adapter_model.safetensors", "--json"]);
    const { path } = pulled.records[0] as { path: string };
    expect(new Uint8Array(readFileSync(join(path, "adapter_model.safetensors")))).toEqual(
      new Uint8Array(200_000).fill(7),
    );
  });

  test("lists without a token or a connection", async () => {
    await hub.api.stop();
    const { stdout, status } = await run(["push", at("adapter"), "owner/name", "--list"]);
    hub = await FakeHub.start({ oneHost: true });
    expect(status).toBe(0);
    expect(stdout).toMatch(/adapter_model\.safetensors +195\.3 KiB/);
    expect(stdout).not.toMatch(/secret|manifest/);
  });

  test("says what is missing", async () => {
    hub.acceptPushes("hf_write");
    const none = await run(["push", at("adapter"), "owner/name"]);
    expect(none.stderr).toMatch(/HF_TOKEN: expected a token of the Hub that may write, got nothing/);
    process.env["HF_TOKEN"] = "hf_read";
    const wrong = await run(["push", at("adapter"), "owner/name"]);
    expect(wrong.stderr).toMatch(
      /owner\/name: expected http.+ to take it, got status 401; check that HF_TOKEN may write/,
    );
    expect(wrong.stderr).not.toContain("hf_read");
    expect((await run(["push", at("adapter"), "owner/name:x"])).stderr).toMatch(
      /REPO: expected owner\/name or/,
    );
    mkdirSync(at("empty"), { recursive: true });
    expect((await run(["push", at("empty"), "owner/name"])).stderr).toMatch(
      /expected config\.json of a model/,
    );
    symlinkSync("/etc/passwd", at("adapter", "linked"));
    expect((await run(["push", at("adapter"), "owner/name"])).stderr).toMatch(/"linked", a link or device/);
  });
});
