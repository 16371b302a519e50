import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath, pathToFileURL } from "node:url";

/** What runs GGUF files has an install of its own, in benchmarks/text-peers. */
const folder = fileURLToPath(new URL("../text-peers/", import.meta.url));

export type TextPeer = "node-llama-cpp" | "@wllama/wllama";

/** Folder of a peer; null where it is not installed. */
function textPeerFolder(name: TextPeer): string | null {
  const path = `${folder}node_modules/${name}`;
  return existsSync(path) ? path : null;
}

/** Folder of a peer, or an error that says where it is missing. */
export function expectTextPeer(name: TextPeer): string {
  const path = textPeerFolder(name);
  if (path === null) throw new Error(`expected ${name} in benchmarks/text-peers, got none`);
  return path;
}

/** What to import of a peer. */
export const textPeerEntry = (name: TextPeer, file: string): string =>
  pathToFileURL(`${expectTextPeer(name)}/${file}`).href;

/** Installs the peers where they are missing; without a network they stay so, and their lines in the results say it. */
export function installTextPeers(): void {
  if (textPeerFolder("node-llama-cpp") !== null && textPeerFolder("@wllama/wllama") !== null) return;
  console.error("bench: installing node-llama-cpp and wllama into benchmarks/text-peers (once, 50 MB)");
  const { status } = spawnSync("pnpm install --frozen-lockfile --prefer-offline", {
    cwd: folder,
    shell: true,
    stdio: ["ignore", 2, 2],
  });
  if (status !== 0)
    console.error("bench: expected pnpm install to succeed in benchmarks/text-peers; see its message above");
}
