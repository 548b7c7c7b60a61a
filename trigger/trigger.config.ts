import { defineConfig } from "@trigger.dev/sdk";

const THREE_HOURS_S = 3 * 60 * 60; // of work; waiting for research is checkpointed and does not count

export default defineConfig({
  // Which Trigger.dev project deploys go to: your own, from its settings page.
  project: process.env["TRIGGER_PROJECT_REF"] ?? "proj_data-engine-x",
  dirs: ["./src/tasks"],
  maxDuration: THREE_HOURS_S,
  retries: {
    enabledInDev: false,
    default: { maxAttempts: 3, minTimeoutInMs: 1_000, maxTimeoutInMs: 60_000, factor: 2, randomize: true },
  },
});
