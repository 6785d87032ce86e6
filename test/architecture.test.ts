import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { checkFile, pureMark } from "./architecture/check.ts";

const root = join(import.meta.dirname, "..");

/** Source files that git knows or would add. */
function sources(): readonly string[] {
  const list = execFileSync("git", ["ls-files", "--cached", "--others", "--exclude-standard"], { cwd: root });
  return String(list)
    .split("\n")
    .filter((path) => /\.(ts|cc|h|c)$/.test(path) && existsSync(join(root, path)));
}

it("every file keeps the import rules and pure files are pure", () => {
  const paths = sources();
  expect(paths.length).toBeGreaterThan(50);
  const found = paths.flatMap((path) => checkFile({ path, text: readFileSync(join(root, path), "utf8") }));
  expect(found).toEqual([]);
});

describe("the checker bites", () => {
  const check = (path: string, text: string) => checkFile({ path, text });

  it("on a station that imports another, by name or by path", () => {
    const byName = check("services/scheduler/loop.ts", 'import { x } from "@starling/dispatcher";\n');
    expect(byName).toEqual([
      "services/scheduler/loop.ts:1: @starling/scheduler may not import @starling/dispatcher (may: @starling/base, @starling/api, @starling/store)",
    ]);
    expect(check("services/scheduler/loop.ts", '\nexport * from "../store/index.ts";')).toHaveLength(1);
    expect(check("services/scheduler/loop.ts", 'const x = await import("@starling/manager");')).toHaveLength(1);
    expect(check("services/swarmctl/main.ts", 'import type { S } from "@starling/store";')).toHaveLength(1);
    expect(check("services/raft-ts/raft.ts", 'import { assert } from "@starling/base";')).toHaveLength(1);
    expect(check("node-agent/src/agent.ts", 'import { x } from "@starling/ca";')).toHaveLength(1);
  });

  it("on orchestrator parts that use one another, except the shared ones", () => {
    expect(check("services/orchestrator/global/loop.ts", 'import { x } from "../replicated/plan.ts";')).toHaveLength(1);
    expect(check("services/orchestrator/global/loop.ts", 'import { x } from "../update/plan.ts";')).toEqual([]);
  });

  it.each([
    ["clock", "export const now = () => Date.now();"],
    ["date", "export const now = () => new Date();"],
    ["chance", "export const roll = () => Math.random();"],
    ["timer", "setTimeout(() => {}, 1);"],
    ["file", 'import { readFileSync } from "node:fs";'],
    ["async", "export async function f() {}"],
    ["environment", "export const home = process.env;"],
  ])("on a pure file that uses %s", (_name, line) => {
    expect(check("services/scheduler/place.ts", `${pureMark}\n${line}`)).toHaveLength(1);
    expect(check("services/scheduler/place.ts", `\n${line}`)).toEqual([]);
  });

  it("on raft-ts although a file lacks the mark, but not on its tests", () => {
    expect(check("services/raft-ts/raft.ts", "const now = Date.now();")).toHaveLength(1);
    expect(check("services/raft-ts/raft.test.ts", 'import { readFileSync } from "node:fs";')).toEqual([]);
  });

  it("not on allowed imports, nor on properties and parameters that are called like a global", () => {
    expect(check("services/store/store.ts", 'import { Task } from "@starling/api"; import x from "./x.ts";')).toEqual(
      [],
    );
    const text = `${pureMark}\nexport const f = (process: { Date: number }) => process.Date + Math.max(1, 2);`;
    expect(check("services/scheduler/place.ts", text)).toEqual([]);
  });

  it("on C++ that includes upwards", () => {
    expect(check("native/sys/fs.cc", '#include "../runtime/init.h"')).toHaveLength(1);
    expect(
      check("native/runtime/init.cc", '#include "../cgroup/cgroup.h"\n#include "init.h"\n#include <poll.h>'),
    ).toEqual([]);
    expect(check("native/novel/x.cc", "")).toHaveLength(1);
  });
});
