import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

/* The page runs under `script-src 'self'`: nothing inline, so no data: URIs for assets and no
 * polyfill script in the HTML. In development the API comes from a running control plane, or from
 * dev/mock.mjs, on the same port. */
export default defineConfig({
  plugins: [react()],
  build: {
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rollupOptions: {
      output: {
        manualChunks: (id) =>
          /node_modules\/(react|react-dom|scheduler)\//.test(id) ? "react" : undefined,
      },
    },
  },
  server: {
    proxy: { "/api": process.env.SLUICE_CONSOLE ?? "http://127.0.0.1:8080" },
  },
});
