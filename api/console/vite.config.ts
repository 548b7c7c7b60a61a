import { defineConfig } from "vite";

export default defineConfig({
  // Relative addresses, and everything below `console/`: the page is served at /console, whatever prefix a proxy adds.
  base: "./",
  build: {
    assetsDir: "console",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: "es2022",
  },
});
