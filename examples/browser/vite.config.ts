import { defineConfig } from "vite";

/** With these a page may share memory between threads: the embedded backend then uses all cores. */
const headers = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
};

export default defineConfig({
  base: "./", // works in any folder of any server
  server: { headers },
  preview: { headers },
  worker: { format: "es" },
  build: { target: "es2022", assetsInlineLimit: 0, chunkSizeWarningLimit: 1000 },
});
