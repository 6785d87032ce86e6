import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { type Directive, parseFile } from "./datadriven.ts";
import { interactionHandler } from "./interaction.ts";
import { quorumHandler } from "./quorum.ts";
import { main } from "./run.ts";
import { type Handler, runFile } from "./run-file.ts";
import { runFolder } from "./suites.ts";

const repo = resolve(import.meta.dirname, "../../..");
const shared = join(resolve(repo, process.env["STARLING_SHARED"] ?? "../shared"), "raft-testdata");

describe("data-driven files", () => {
  const isThere = existsSync(shared);
  if (!isThere) console.warn(`SKIPPED: no ${shared}; set STARLING_SHARED to the folder that holds raft-testdata`);
  it.skipIf(!isThere && !process.env["CI"])("etcd-raft's all pass byte for byte", () => {
    const results = [...runFolder(shared)];
    expect(results.filter((r) => r.failure !== undefined)).toEqual([]);
    expect(results).toHaveLength(30);
  });

  it("ours, whose outputs etcd-raft made, all pass byte for byte", () => {
    const results = [...runFolder(join(import.meta.dirname, "files"))];
    expect(results.filter((r) => r.failure !== undefined)).toEqual([]);
    expect(results.map((r) => r.file)).toEqual([
      "testdata/faults/snapshots.txt",
      "testdata/faults/storage_threads.txt",
      "testdata/harness.txt",
      "testdata/leadership/quorum.txt",
      "testdata/leadership/transfer.txt",
      "testdata/membership.txt",
      "quorum/testdata/outputs.txt",
      "confchange/testdata/refused.txt",
    ]);
  });
});

describe("the file format", () => {
  const argsOf = (head: string): Directive["args"] => parseFile(`${head}\n----\n`)[0]!.args;

  it("knows comments, input and output, also with blank lines", () => {
    const text =
      "# comment\n\nadd 3\nin\n\n# put\n----\nok\n\nb\n----\n----\nx\n\n----\ny\n----\n----\n\nc\r\n----\r\nz\r\n";
    expect(parseFile(text)).toEqual([
      { line: 3, command: "add", args: [{ key: "3", values: [] }], input: "in\n\n# put", expected: "ok\n" },
      { line: 10, command: "b", args: [], input: "", expected: "x\n\n----\ny\n" },
      { line: 20, command: "c", args: [], input: "", expected: "z\n" },
    ]);
  });

  it("knows arguments with lists, nested parentheses and continued lines", () => {
    expect(argsOf("a 3 voters=(1, 2) \\\n  index=2 content= cfg=(1 2,(3,4)) none=() x==(y")).toEqual([
      { key: "3", values: [] },
      { key: "voters", values: ["1", "2"] },
      { key: "index", values: ["2"] },
      { key: "content", values: [""] },
      { key: "cfg", values: ["1 2", "(3,4)"] },
      { key: "none", values: [""] },
      { key: "x", values: ["=(y"] },
    ]);
    expect(argsOf("a l=(1,2)b")).toEqual([
      { key: "l", values: ["1", "2"] },
      { key: "b", values: [] },
    ]);
  });

  it("knows subtests, which only group", () => {
    const d = (name: string) => `${name}\n----\n\n`;
    const text = `subtest a\n${d("x")}subtest a/b\n${d("y")}subtest end a/b\nsubtest end\n${d("z")}`;
    expect(parseFile(text).map(({ command }) => command)).toEqual(["x", "y", "z"]);
  });

  it.each([
    ["campaign 1\n", 1, "campaign: no ---- and output follow"],
    ["\na (1\n=2\n", 2, "a: no ---- and output follow"],
    ["a =2\n", 1, "cannot parse directive at column 3: a =2"],
    ["\na k=(1, (2)\n", 2, "cannot parse directive at column 5: a k=(1, (2)"],
    ["a\n----\n----\nx\n----\n----\nb\n", 7, 'a blank line must follow a block of output, not "b"'],
    ["subtest\n", 1, "subtest takes one name"],
    ["subtest end\n", 1, "subtest end without a subtest"],
    ["subtest a\nsubtest b\n", 2, "subtest b must begin with a/"],
    ["subtest a\nsubtest end b\n", 2, "subtest end b does not fit to subtest a"],
    ["subtest a\nsubtest end a b\n", 2, "subtest end takes one name at most"],
    ["subtest a\n", 1, 'subtest a has no "subtest end"'],
  ])("%j fails in line %i", (text, line, why) => {
    expect(runFile(text, () => "")).toEqual({ line, why });
  });
});

describe("bad directives", () => {
  const run = (text: string, handler: Handler) => runFile(`log-level none\n----\nok\n\n${text}\n----\nok\n`, handler);
  it.each([
    ["nonsense 1", "nonsense: output differs from its line 1 on"],
    ["campaign 1", "campaign: no node 1: there are 0"],
    ["campaign", "campaign: argument 1 is missing"],
    ["campaign one", 'campaign: "one" is not a node id'],
    ["add-nodes 1 voters=(1 2) index=2", 'add-nodes: "1 2" is not a node id'],
    ["add-nodes 1 prevote=maybe", 'add-nodes: "maybe" is not a boolean'],
    ["add-nodes 1 inflight=0", "add-nodes: raft config maxInflightMsgs=0: must be an integer of at least 1"],
    [
      "add-nodes 1 read-only=lease-based",
      "add-nodes: raft config readOnlyOption=ReadOnlyLeaseBased: needs checkQuorum",
    ],
    ["deliver-msgs 1 drop=1", "deliver-msgs: can't both deliver and drop messages to 1"],
    ["deliver-msgs 1 type=toString", "deliver-msgs: unknown message type toString"],
    ["propose 1", "propose: expected a node and one word"],
    ["set-randomized-election-timeout 1", "set-randomized-election-timeout: timeout= is missing"],
    ["transfer-leadership from=1", "transfer-leadership: to= is missing"],
    ["send-snapshot 1", "send-snapshot: expected two nodes"],
  ])("%s", (directive, why) => {
    const failure = run(directive, interactionHandler());
    expect(failure).toMatchObject({ line: 5 });
    expect(failure?.why).toContain(why);
  });

  it.each([
    ["committed cfg=(1,x) idx=(1,2)", 'committed: "x" is not a node id'],
    ["committed cfg=1 idx=0", "committed: cannot use 0 as idx"],
    ["committed toString=(1)", "committed: unknown argument toString"],
    ["vote cfg=1 votes=maybe", "vote: unknown vote: maybe"],
    ["vote cfg=1 cfgj=(zero,1) votes=y", "vote: cannot mix 'zero' into configuration"],
    ["elect cfg=1 idx=1", "elect: unknown directive; there are committed and vote"],
  ])("quorum: %s", (directive, why) => {
    expect(runFile(`${directive}\n----\n`, quorumHandler())).toEqual({ line: 1, why });
  });
});

describe("npm run raft:conformance", () => {
  const made: string[] = [];
  afterEach(() => {
    for (const folder of made.splice(0)) rmSync(folder, { recursive: true });
  });
  function folderWith(files: Readonly<Record<string, string>>): string {
    const folder = mkdtempSync(join(tmpdir(), "raft-conformance-"));
    made.push(folder);
    for (const [file, text] of Object.entries(files)) {
      mkdirSync(join(folder, file, ".."), { recursive: true });
      writeFileSync(join(folder, file), text);
    }
    return folder;
  }
  function run(...args: string[]): { status: number; lines: string[] } {
    const lines: string[] = [];
    return { status: main(args, (line) => lines.push(line)), lines };
  }
  const good = "log-level info\n----\nok\n";

  it("passes over hidden and editors' files, follows links, and ends with the counts", () => {
    const folder = folderWith({
      "testdata/sub/b.txt": good,
      "testdata/.git/x": "broken",
      "testdata/a~": "broken",
      "testdata/#a#": "broken",
    });
    symlinkSync(join(folder, "testdata/sub"), join(folder, "testdata/link"));
    expect(run(folder)).toEqual({
      status: 0,
      lines: ["ok   testdata/link/b.txt", "ok   testdata/sub/b.txt", "2 passed, 0 failed"],
    });
  });

  it("names file and line of a failure, and goes on with the next file", () => {
    const folder = folderWith({ "testdata/a.txt": `${good}\nnonsense\n----\nok\n`, "testdata/b.txt": good });
    const { status, lines } = run(folder);
    expect(status).toBe(1);
    expect(lines[0]).toMatch(/^FAIL testdata\/a\.txt:5: nonsense: output differs/);
    expect(lines[0]).toContain("+ unknown command");
    expect(lines.slice(1)).toEqual(["ok   testdata/b.txt", "1 passed, 1 failed"]);
  });

  it("says what it needs when there is nothing to run", () => {
    expect(run(join(tmpdir(), "there-is-none")).status).toBe(2);
    expect(run(folderWith({ "other/a.txt": good }))).toMatchObject({ status: 2 });
    expect(run("a", "b")).toEqual({ status: 2, lines: ["usage: npm run raft:conformance -- [FOLDER]"] });
  });
});
