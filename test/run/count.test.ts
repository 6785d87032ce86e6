import { expect, it } from "vitest";
import { countOfLines, countOfVitest } from "./count.ts";

it("sums the closing lines of several programs and ignores everything else", () => {
  expect(countOfLines("ok 1\n3 passed, 1 failed\nnoise 4 passed, 4 failed\n10 passed, 0 failed, 2 skipped\n")).toEqual({
    passed: 13,
    failed: 1,
    skipped: 2,
  });
});

it("counts a test file that could not be loaded as a failure", () => {
  const file = (status: string, ...tests: string[]) => ({
    status,
    assertionResults: tests.map((s) => ({ status: s })),
  });
  const report = { numPassedTests: 2, numFailedTests: 1, numPendingTests: 1, numTodoTests: 1 };
  const testResults = [file("failed"), file("failed", "failed", "passed"), file("passed", "passed")];
  expect(countOfVitest({ ...report, testResults })).toEqual({ passed: 2, failed: 2, skipped: 2 });
});
