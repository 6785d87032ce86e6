import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { lean } from "./lean.ts";
import { starterOf } from "./starter.ts";

describe("the starter of swarmd", () => {
  const folder = mkdtempSync(join(tmpdir(), "starling starter-"));
  const starter = join(folder, "bin/swarmd");
  for (const name of ["bin", "lib", "manager/raft", "worker/certificates", "empty"])
    mkdirSync(join(folder, name), { recursive: true });
  writeFileSync(starter, starterOf("swarmd"), { mode: 0o755 });
  // Stands for Node: says how it was started.
  const node = `#!/bin/sh\nprintf '%s\\n' "$@" "role $STARLING_ROLE" "starter $STARLING_STARTER"\n`;
  writeFileSync(join(folder, "lib/node"), node, { mode: 0o755 });
  afterAll(() => rmSync(folder, { recursive: true }));

  const started = (args: readonly string[], env = {}, path = starter) =>
    execFileSync(path, args, { encoding: "utf8", env: { ...process.env, ...env } })
      .trim()
      .split("\n");
  const joining = ["--join-addr", "10.0.0.1:4242"];
  const state = (name: string) => join(folder, name);

  it.each([
    ["manager", "begins a swarm", ["-d", state("empty")]],
    ["manager", "has a Raft log", ["--state-dir", state("manager"), ...joining]],
    ["manager", "has one in a folder named in one word", [...joining, `--state-dir=${state("manager")}`]],
    ["manager", "has one in a folder named in one short word", [...joining, `-d${state("manager")}`]],
    ["worker", "joins", ["-d", state("empty"), ...joining]],
    ["worker", "joins, said in one word", ["-d", state("empty"), "--join-addr=10.0.0.1:4242"]],
    ["worker", "has joined long ago", ["-d", state("worker")]],
  ] as const)("takes for a %s who %s", (role, _, args) => {
    const told = started(args);
    expect(told).toEqual([
      ...lean.flags[role],
      `${folder}/bin/../lib/run.cjs`,
      "swarmd",
      ...args,
      `role ${role}`,
      `starter ${starter}`,
    ]);
  });

  it("believes who was started before and knows to be a manager", () => {
    expect(started(["-d", state("empty"), ...joining], { STARLING_ROLE: "manager" })).toContain("role manager");
  });

  it("finds what it starts by a link, too", () => {
    const link = join(folder, "swarmd");
    symlinkSync(starter, link);
    expect(started(["-d", state("empty")], {}, link)).toContain(`starter ${starter}`);
  });
});
