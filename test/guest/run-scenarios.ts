/**
 * Runs every scenario here: `node test/guest/run-scenarios.ts FOLDER hybrid|v1|v2 [DISK]`. Prints a JSON object a line:
 * { limit, seconds, failure? }; the failure is what the runtime or the kernel said.
 */
import { statSync } from "node:fs";
import { Box } from "./box.ts";
import { type Place, scenarios } from "./scenarios.ts";

const [folder = "", cgroups = "", disk = ""] = process.argv.slice(2);

function diskAt(path: string): Place["disk"] {
  if (path === "") return undefined;
  const { rdev } = statSync(path);
  // Linux's numbers (makedev(3)); those of the devices here are below 256.
  return { path: "/dev/disk", type: "b", major: (rdev >> 8) & 0xfff, minor: rdev & 0xff, mode: 0o600, uid: 0, gid: 0 };
}

const box = new Box(folder);
const place: Place = { cgroups: cgroups as Place["cgroups"], disk: diskAt(disk) };
for (const { limit, run } of scenarios) {
  const from = performance.now();
  const failure = await run(box, place).then(
    () => undefined,
    (error: Error) => error.message,
  );
  console.log(JSON.stringify({ limit, seconds: Math.round(performance.now() - from) / 1000, failure }));
}
