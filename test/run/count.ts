/** Pure: no clock, no I/O, no randomness. */

export interface Count {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

export const emptyCount: Count = { passed: 0, failed: 0, skipped: 0 };

export function add(a: Count, b: Count): Count {
  return { passed: a.passed + b.passed, failed: a.failed + b.failed, skipped: a.skipped + b.skipped };
}

/** The parts of vitest's JSON report (Jest's format) that count. */
interface VitestReport {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly numPendingTests: number;
  readonly numTodoTests: number;
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly message: string;
    readonly assertionResults: readonly {
      readonly status: string;
      readonly fullName: string;
      readonly failureMessages: readonly string[];
    }[];
  }[];
}

/** A file that failed before or beside its tests (a bad import, a hook) counts as one failure. */
export function countOfVitest(report: VitestReport): Count {
  const brokenFiles = report.testResults.filter(
    (file) => file.status === "failed" && !file.assertionResults.some((test) => test.status === "failed"),
  );
  return {
    passed: report.numPassedTests,
    failed: report.numFailedTests + brokenFiles.length,
    skipped: report.numPendingTests + report.numTodoTests,
  };
}

/** What failed and why, a text each: for the end of the output, the part that is kept when a log is cut. */
export function failuresOfVitest(report: VitestReport): readonly string[] {
  return report.testResults.flatMap((file) => {
    const failed = file.assertionResults.filter((test) => test.status === "failed");
    if (failed.length === 0) return file.status === "failed" ? [`${file.name}\n${file.message}`] : [];
    return failed.map((test) => `${file.name} > ${test.fullName}\n${test.failureMessages.join("\n")}`);
  });
}

/** Sums the lines `N passed, N failed[, N skipped]` of a program's output. */
export function countOfLines(output: string): Count {
  const lines = output.matchAll(/^(?:\w+: )?(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$/gm);
  return [...lines]
    .map(([, passed, failed, skipped]) => ({
      passed: Number(passed),
      failed: Number(failed),
      skipped: Number(skipped ?? 0),
    }))
    .reduce(add, emptyCount);
}
