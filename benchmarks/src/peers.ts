import { spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import { fileURLToPath, pathToFileURL } from "node:url";

/** The large peers have an install of their own, in benchmarks/peers: the repository's own install stays small. */
const folder = fileURLToPath(new URL("../peers/", import.meta.url));
const inPeers = createRequire(`${folder}package.json`);

export const PEERS = ["onnxruntime-web", "onnxruntime-node"] as const;
export type Peer = (typeof PEERS)[number];

/** The file to import for a peer; null where it is not installed. */
export function peerEntry(name: Peer): string | null {
  try {
    return pathToFileURL(inPeers.resolve(name)).href;
  } catch {
    return null;
  }
}

/** Installs the peers where they are missing; without a network they stay so, and their lines in the results say it. */
export function installPeers(names: readonly Peer[]): void {
  if (names.every((name) => peerEntry(name) !== null)) return;
  console.error(`bench: installing ${names.join(" and ")} into benchmarks/peers (once, 150 MB)`);
  const { status } = spawnSync("pnpm install --frozen-lockfile --prefer-offline", {
    cwd: folder,
    shell: true,
    stdio: ["ignore", 2, 2],
  });
  if (status !== 0)
    console.error("bench: expected pnpm install to succeed in benchmarks/peers; see its message above");
}
