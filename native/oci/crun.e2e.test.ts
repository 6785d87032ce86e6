import { existsSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Bundle } from "./bundle.fixture.ts";
import { cases, look } from "./cases.fixture.ts";

/** starling-run and Debian's crun are given the same bundles: exit codes and what the program sees must be the same. */
let bundle: Bundle;
beforeAll(() => {
  bundle = new Bundle();
});
afterAll(() => bundle?.remove());

/** The columns of `ls -l` that may differ: sizes of folders, times. */
function normal(text: string): string {
  return text.replace(/, *size=\d+k,nr_inodes=\d+/g, "").replace(/ {2,}/g, " ");
}

describe.skipIf(!existsSync("/usr/bin/crun"))("starling-run and crun", () => {
  for (const [name, change, script = look] of cases) {
    it(`see the same: ${name}`, () => {
      const config = bundle.config(script, change);
      const crun = bundle.runByCrun(config);
      const ours = bundle.run(config);
      const told = `crun: ${crun.err}ours: ${ours.err}`;
      expect({ code: ours.code, out: normal(ours.out), told }).toEqual({
        code: crun.code,
        out: normal(crun.out),
        told,
      });
      expect(bundle.containers()).toEqual([]);
    });
  }
});
