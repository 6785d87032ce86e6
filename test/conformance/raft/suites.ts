import { type Dirent, readdirSync, readFileSync, statSync } from "node:fs";
import { join, relative } from "node:path";
import { confChangeHandler } from "./confchange.ts";
import { interactionHandler } from "./interaction.ts";
import { quorumHandler } from "./quorum.ts";
import { type Failure, type Handler, runFile } from "./run-file.ts";

/** Where the files of a suite lie, and what runs them. */
export const suites: readonly { readonly folder: string; readonly handler: () => Handler }[] = [
  { folder: "testdata", handler: interactionHandler },
  { folder: join("quorum", "testdata"), handler: quorumHandler },
  { folder: join("confchange", "testdata"), handler: confChangeHandler },
];

export interface FileResult {
  /** Relative to the folder. */
  readonly file: string;
  /** Undefined: passed. */
  readonly failure: Failure | undefined;
}

/** Run every file of every suite below `folder`. */
export function* runFolder(folder: string): Generator<FileResult> {
  for (const suite of suites) {
    for (const path of filesBelow(join(folder, suite.folder))) {
      yield { file: relative(folder, path), failure: runFile(readFileSync(path, "utf8"), suite.handler()) };
    }
  }
}

/** Editors' and hidden files and folders. */
const leftOut = /^\.|~$|^#.*#$/;

/** The files below `folder`, links followed, sorted folder by folder. A folder that is not there has none. */
function filesBelow(folder: string): string[] {
  let entries: Dirent[];
  try {
    entries = readdirSync(folder, { withFileTypes: true });
  } catch (err) {
    if ((err as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw err;
  }
  return entries
    .filter(({ name }) => !leftOut.test(name))
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap(({ name }) => {
      const path = join(folder, name);
      return statSync(path).isDirectory() ? filesBelow(path) : [path];
    });
}
