import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { expect, it } from "vitest";

const root = resolve(import.meta.dirname, "../..");
const list = join(import.meta.dirname, "behaviours.md");

interface Rule {
  readonly text: string;
  readonly tests: readonly { readonly file: string; readonly title: string }[];
}

/** The rows of all tables: `| rule | file › title; file › title |`. */
function readRules(markdown: string): Rule[] {
  const rows = markdown.split("\n").filter((line) => line.startsWith("|") && !/^\| rule \||^\|---/.test(line));
  return rows.map((row) => {
    const [text = "", tests = ""] = row.slice(1, -1).split(" | ");
    const references = tests.split(/; (?=[\w-]+\/)/).map((reference) => {
      const [file = "", title = ""] = reference.trim().split(" › ");
      return { file, title };
    });
    return { text: text.trim(), tests: references };
  });
}

/** What is wrong with a rule's tests; nothing when each is there. */
function faults({ text, tests }: Rule): string[] {
  if (tests.every(({ file }) => file === "")) return [`"${text}" has no test`];
  return tests.flatMap(({ file, title }) => {
    const path = join(root, file);
    if (!existsSync(path) || title === "") return [`"${text}": there is no file ${file} › ${title}`];
    const quoted = ['"', "'", "`"].some((quote) => readFileSync(path, "utf8").includes(`${quote}${title}${quote}`));
    return quoted ? [] : [`"${text}": ${file} has no test "${title}"`];
  });
}

it("every rule has a test that exists", () => {
  const rules = readRules(readFileSync(list, "utf8"));
  expect(rules.length).toBeGreaterThan(100);
  expect(rules.flatMap(faults)).toEqual([]);
});

it("a rule without a test is noticed", () => {
  const rules = readRules("| rule | tests |\n|---|---|\n| a |  |\n| b | no/such.ts › x |\n| c | package.json › y |\n");
  expect(rules.flatMap(faults)).toHaveLength(3);
});
