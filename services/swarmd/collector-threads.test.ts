import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { expect, it } from "vitest";
import { lean } from "../../deploy/distribution/lean.ts";

/** Names and niceness (proc_pid_stat(5), field 19) of the threads of a process as swarmd's that has put its collector first. */
function threads(): readonly { readonly name: string; readonly nice: number }[] {
  const script = `
    import { putCollectorFirst } from ${JSON.stringify(join(import.meta.dirname, "collector-threads.ts"))};
    import { readdirSync, readFileSync } from "node:fs";
    putCollectorFirst();
    const threads = readdirSync("/proc/self/task").map((id) => {
      const [, name, rest] = /\\((.*)\\) (.*)/.exec(readFileSync(\`/proc/self/task/\${id}/stat\`, "utf8"));
      return { name, nice: Number(rest.split(" ")[16]) };
    });
    console.log(JSON.stringify(threads));`;
  const argv = [...lean.flags, "--input-type=module", "--eval", script];
  return JSON.parse(execFileSync(process.execPath, argv, { encoding: "utf8" }));
}

it("V8's own threads go first, and no other", () => {
  const all = threads();
  const own = all.filter(({ name }) => name === "V8Worker");
  expect(own.length).toBeGreaterThan(0);
  expect(own.every(({ nice }) => nice === -10)).toBe(true);
  expect(all.filter(({ name }) => name !== "V8Worker").every(({ nice }) => nice === 0)).toBe(true);
});
