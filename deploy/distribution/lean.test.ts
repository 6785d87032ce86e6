import { execFileSync } from "node:child_process";
import { expect, it } from "vitest";
import { lean } from "./lean.ts";

/** What a code cache has to be made with for V8 to take it. */
const versionTag = (...flags: readonly string[]): string =>
  execFileSync(process.execPath, [...flags, "--print", "v8.cachedDataVersionTag()"], { encoding: "utf8" });

it("swarmd's V8 takes the code caches that Node has of its own modules", () => {
  expect(versionTag(...lean.flags)).toBe(versionTag());
  expect(versionTag("--expose-gc")).not.toBe(versionTag());
});
