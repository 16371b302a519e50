// Where libraries lie, the fastest on each platform first, and what to install where there is none.
import { existsSync } from "node:fs";

const LINUX = [
  "libmkl_rt.so.3",
  "libmkl_rt.so.2",
  "/opt/intel/oneapi/mkl/latest/lib/libmkl_rt.so.2",
  "libopenblas.so.0",
  "libopenblas.so",
  "libblis.so.4",
  "libblis.so",
  "libblis-mt.so",
  "libblas.so.3", // whichever of them the distribution's alternatives chose
] as const;

const MAC = [
  "/System/Library/Frameworks/Accelerate.framework/Accelerate",
  "/opt/intel/oneapi/mkl/latest/lib/libmkl_rt.2.dylib",
  "/opt/homebrew/opt/openblas/lib/libopenblas.dylib",
  "/usr/local/opt/openblas/lib/libopenblas.dylib",
  "/opt/homebrew/opt/blis/lib/libblis.dylib",
] as const;

const WINDOWS = [
  "mkl_rt.3.dll",
  "mkl_rt.2.dll",
  "libopenblas.dll",
  "openblas.dll",
  "AOCL-LibBlis-Win-MT-dll.dll",
  "libblis.dll",
] as const;

const INSTALL: Partial<Record<NodeJS.Platform, string>> = {
  linux:
    "apt-get install libopenblas0-pthread (Debian, Ubuntu), dnf install openblas (Fedora), pacman -S openblas (Arch)",
  darwin: "Accelerate comes with macOS; else brew install openblas",
  win32: "put libopenblas.dll of an OpenBLAS release on PATH",
};

/** Names and paths to try, in this order. The libraries of macOS itself are in no file. */
export const candidates = (platform: NodeJS.Platform = process.platform): readonly string[] =>
  (platform === "darwin" ? MAC : platform === "win32" ? WINDOWS : LINUX).filter(
    (path) => !path.startsWith("/") || path.startsWith("/System/") || existsSync(path),
  );

/** What a user can do who has no library. */
export const howToInstall = (platform: NodeJS.Platform = process.platform): string =>
  `${INSTALL[platform] ?? "install OpenBLAS"}, or name a library by LOWRANK_BLAS`;
