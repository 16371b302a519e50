import { defineConfig } from "vite";

export default defineConfig({
  base: "./", // served under several prefixes, each with headers of its own
  logLevel: "warn",
  build: { target: "es2022", chunkSizeWarningLimit: 2000 },
  worker: { format: "es" },
});
