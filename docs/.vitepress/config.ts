import { existsSync, readFileSync } from "node:fs";
import { defineConfig } from "vitepress";

// typedoc writes the API pages and their sidebar before the site is built.
const apiSidebar = new URL("../api/typedoc-sidebar.json", import.meta.url);

export default defineConfig({
  title: "lowrank",
  description: "Low-rank learning for TypeScript",
  cleanUrls: true,
  srcExclude: ["README.md"],
  themeConfig: {
    search: { provider: "local" },
    nav: [
      { text: "Guide", link: "/getting-started" },
      { text: "API", link: "/api/" },
    ],
    sidebar: [
      {
        text: "Guide",
        items: [
          { text: "Getting started", link: "/getting-started" },
          { text: "Models: which are read, and what they are for", link: "/models" },
          { text: "Files and the Hub: where models come from", link: "/files-and-hub" },
          { text: "Running models: texts, conversations, scores", link: "/running" },
          { text: "Backends: which device computes", link: "/backends" },
          { text: "Decompositions: which one to pick", link: "/linalg" },
          { text: "Memory: what is kept and what is computed again", link: "/memory" },
          { text: "Your first adapter", link: "/first-adapter" },
          { text: "Fine-tune a real model", link: "/fine-tune" },
          { text: "Serving: many adapters on one base", link: "/serving" },
        ],
      },
      ...(existsSync(apiSidebar)
        ? [{ text: "API", collapsed: true, items: JSON.parse(readFileSync(apiSidebar, "utf8")) }]
        : []),
    ],
  },
});
