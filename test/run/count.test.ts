import { expect, it } from "vitest";
import { countOfLines, countOfVitest, failuresOfVitest } from "./count.ts";

it("sums the closing lines of several programs and ignores everything else", () => {
  expect(countOfLines("ok 1\n3 passed, 1 failed\nnoise 4 passed, 4 failed\n10 passed, 0 failed, 2 skipped\n")).toEqual({
    passed: 13,
    failed: 1,
    skipped: 2,
  });
});

const file = (name: string, status: string, ...tests: string[]) => ({
  name,
  status,
  message: status === "failed" ? "no such import" : "",
  assertionResults: tests.map((result, i) => ({
    status: result,
    fullName: `test ${i}`,
    failureMessages: result === "failed" ? ["expected 1 to be 2"] : [],
  })),
});
const report = {
  numPassedTests: 2,
  numFailedTests: 1,
  numPendingTests: 1,
  numTodoTests: 1,
  testResults: [file("a", "failed"), file("b", "failed", "failed", "passed"), file("c", "passed", "passed")],
};

it("counts a test file that could not be loaded as a failure", () => {
  expect(countOfVitest(report)).toEqual({ passed: 2, failed: 2, skipped: 2 });
});

it("names each failed test, and each file that could not be loaded, with the reason", () => {
  expect(failuresOfVitest(report)).toEqual(["a\nno such import", "b > test 0\nexpected 1 to be 2"]);
});
