import { defineConfig } from "vitest/config";

/** Tests that make hosts, containers or whole swarms: one file at a time, with time to spare. All others run in parallel. */
const onHosts = ["test/{cluster,images,e2e,demo}/**/*.test.ts", "**/*.e2e.test.ts"];
const never = ["**/node_modules/**", "**/build/**", "**/dist/**"];

/** See test/cluster/pace.ts. */
const pace = Number(process.env["STARLING_PACE"] ?? 1);

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "unit",
          include: ["{services,node-agent,native,proto,deploy,test}/**/*.test.ts"],
          exclude: [...never, ...onHosts],
          testTimeout: pace * 30_000,
          hookTimeout: pace * 60_000,
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: {
          name: "hosts",
          include: onHosts,
          exclude: never,
          maxWorkers: 1,
          fileParallelism: false,
          testTimeout: pace * 120_000,
          hookTimeout: pace * 300_000,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
