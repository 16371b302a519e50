import { FormatError, quoteName } from "./format-error.js";

const RESERVED =
  /^(?:con|prn|aux|nul|conin\$|conout\$|com[0-9\u00b9\u00b2\u00b3]|lpt[0-9\u00b9\u00b2\u00b3])(?:\..*)?$/i; // Windows device names

/**
 * Checks a file name that came from a file or another stranger: one plain name inside one folder, valid under POSIX and
 * Windows rules alike. No separators, drive letters, streams, device names, `.`, `..`, control characters, trailing
 * dots or spaces; at most 255 bytes.
 *
 * @throws FormatError naming the rule that was broken.
 */
export function checkFileName(name: string, where: string, format = "file"): string {
  const refuse = (expected: string): never => {
    throw new FormatError({ format, where, expected, got: quoteName(name) });
  };
  if (name === "" || name === "." || name === "..") refuse("the name of a file");
  if (/[/\\:]/.test(name)) refuse("a file name without path separators, drive letters or streams");
  if (/[\p{Cc}<>"|?*]/u.test(name)) refuse('a file name without control characters or any of < > " | ? *');
  if (/[. ]$/.test(name)) refuse("a file name that does not end in a dot or a space");
  if (/\p{Surrogate}/u.test(name)) refuse("a file name of well-formed Unicode");
  if (RESERVED.test(name)) refuse("a file name that is no device of Windows");
  if (new TextEncoder().encode(name).length > 255) refuse("a file name of at most 255 bytes");
  return name;
}

/**
 * Checks the path of a file in a folder below: names of {@link checkFileName} with `/` between them, at most 16.
 *
 * @throws FormatError naming the rule that was broken.
 */
export function checkFilePath(path: string, where: string, format = "file"): string {
  const names = path.split("/");
  if (names.length > 16 || path.length > 1024) {
    throw new FormatError({ format, where, expected: "a path of at most 16 names", got: quoteName(path) });
  }
  for (const name of names) checkFileName(name, where, format);
  return path;
}
