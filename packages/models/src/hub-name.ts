import { ConfigError } from "@lowrank/tensor";
import { quoteName } from "./format-error.js";

/** Which repository on the Hub, at which revision, and perhaps which file of it. */
export interface HubName {
  /** `owner/name`. */
  readonly repo: string;
  /** Branch, tag or commit. */
  readonly revision: string;
  /** One file of the repository, such as one of several GGUF files. */
  readonly file: string | undefined;
}

const PART = "[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?";
const NAME = new RegExp(`^(${PART}/${PART})(?:@([^:]*))?(?::(.*))?$`);
const REVISION = /^[A-Za-z0-9_](?:[A-Za-z0-9._/-]{0,198}[A-Za-z0-9_])?$/;

/** True for what reads as `owner/name`, with a revision or a file perhaps. */
export const isHubName = (text: string): boolean => NAME.test(text) && !/\.\.|--/.test(text.split("@")[0]!);

/**
 * Reads `owner/name`, `owner/name@revision` or `owner/name@revision:file.gguf`. The revision is `main` unless given.
 *
 * @throws ConfigError
 */
export function parseHubName(text: string): HubName {
  const match = isHubName(text) ? NAME.exec(text) : null;
  const [, repo, revision = "main", file] = match ?? [];
  if (repo === undefined || !REVISION.test(revision) || /\.\.|\/\//.test(revision) || file === "") {
    throw new ConfigError({
      where: "Hub",
      expected: "owner/name, owner/name@revision or owner/name@revision:file",
      got: quoteName(text),
    });
  }
  return { repo, revision, file };
}

/** True for a full commit, which can never mean another content. */
export const isCommit = (revision: string): boolean => /^[0-9a-f]{40}$/.test(revision);
