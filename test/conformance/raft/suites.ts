import { join, relative } from "node:path";
import { confChangeHandler } from "./confchange.ts";
import { describeFailure, filesBelow, type Handler, readText, runFile } from "./datadriven.ts";
import { interactionHandler } from "./interaction.ts";
import { quorumHandler } from "./quorum.ts";

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
  readonly failure: string | undefined;
}

/** Run every file of every suite below `folder`. */
export function* runFolder(folder: string): Generator<FileResult> {
  for (const suite of suites) {
    for (const path of filesBelow(join(folder, suite.folder))) {
      const file = relative(folder, path);
      try {
        const failure = runFile(readText(path), suite.handler());
        yield { file, failure: failure === undefined ? undefined : describeFailure(failure) };
      } catch (err) {
        yield { file, failure: `  ${err instanceof Error ? err.message : String(err)}` };
      }
    }
  }
}
