import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { describe, expect, it } from "vitest";
import { parseFile, runFile } from "./datadriven.ts";
import { interactionHandler } from "./interaction.ts";
import { runFolder } from "./suites.ts";

const repo = resolve(import.meta.dirname, "../../..");
const folder = join(resolve(repo, process.env["STARLING_SHARED"] ?? "../shared"), "raft-testdata");

describe("etcd-raft's data-driven files", () => {
  const isThere = existsSync(folder);
  if (!isThere) console.warn(`SKIPPED: no ${folder}; set STARLING_SHARED to the folder that holds raft-testdata`);
  it.skipIf(!isThere && !process.env["CI"])("all pass byte for byte", () => {
    const results = [...runFolder(folder)];
    expect(results.filter((r) => r.failure !== undefined)).toEqual([]);
    expect(results).toHaveLength(30);
  });
});

describe("the file format", () => {
  it("knows arguments, continued lines, comments and output with blank lines", () => {
    const text =
      "# comment\nadd-nodes 3 voters=(1, 2) \\\n  index=2 content= cfg=(1 2,(3,4))\nin\nput\n----\nok\n\nb\n----\n----\nx\n\ny\n----\n----\n";
    expect(parseFile(text)).toEqual([
      {
        line: 2,
        command: "add-nodes",
        args: [
          { key: "3", values: [] },
          { key: "voters", values: ["1", "2"] },
          { key: "index", values: ["2"] },
          { key: "content", values: [""] },
          { key: "cfg", values: ["1 2", "(3,4)"] },
        ],
        input: "in\nput",
        expected: "ok\n",
      },
      { line: 9, command: "b", args: [], input: "", expected: "x\n\ny\n" },
    ]);
  });

  it("a mismatch is reported, and ends the file", () => {
    const text = "log-level nonsense\n----\nok\n\nlog-level info\n----\nwrong\n";
    expect(runFile(text, interactionHandler())).toMatchObject({
      line: 1,
      actual: "log levels must be either of [DEBUG INFO WARN ERROR FATAL NONE]\n",
    });
  });

  it("a directive without an expected output is an error", () => {
    expect(() => parseFile("campaign 1\n")).toThrow("line 1: directive campaign has no ----");
  });
});
