import { describe, expect, it } from "vitest";
import { targetNames } from "./build.ts";
import { summaryOf } from "./lines.ts";
import { coverageOf, dictionaryOf, seedFiles } from "./run.ts";

describe("what libFuzzer says", () => {
  it("the last status counts", () => {
    const output =
      "#2\tINITED cov: 5 ft: 6 corp: 1/1b exec/s: 0 rss: 40Mb\n#900\tNEW    cov: 50 ft: 60 corp: 7/70b lim: 9 exec/s: 3\n" +
      "#1000\tDONE   cov: 51 ft: 61 corp: 8/80b lim: 9 exec/s: 3 rss: 41Mb\nstat::number_of_executed_units: 1000\n";
    expect(coverageOf(output)).toEqual({ executions: 1000, edges: 51, features: 61, corpus: 8 });
  });

  it("a run that died before its first status has no coverage", () => {
    expect(coverageOf("==1==ERROR: AddressSanitizer: SEGV\n")).toBeUndefined();
  });
});

it("a dictionary has the words of a source, each once, and no names of headers", () => {
  const source = `#include "config.h"
    reader.Has("uidMappings"); reader.String("type"); item.Fault("type", "must be c, b or p");
    if (key == "x" || word == "SCMP_ACT_ERRNO" || option == "size=") {}`;
  expect(dictionaryOf(source)).toEqual(['"uidMappings"', '"type"', '"SCMP_ACT_ERRNO"', '"size="']);
});

it("a report by line leaves out what no input reaches", () => {
  const report = `Filename   Regions  Missed Regions Cover Functions Missed Functions Executed Lines Missed Lines Cover Branches Missed Cover
base/json.cc  261  20  92.34%  19  0  100.00%  211  8  96.21%  198  21  89.39%
sys/clone.cc   10  10   0.00%   2  2    0.00%   30 30   0.00%    4   4   0.00%
TOTAL  271  30  88.93%  21  2  90.48%  241  38  84.23%  202  25  87.62%`;
  expect(
    summaryOf(report)
      .split("\n")
      .map((line) => line.trim().split(/\s+/)),
  ).toEqual([
    ["base/json.cc", "211", "lines", "96.21%"],
    ["TOTAL", "241", "lines", "84.23%"],
  ]);
});

it("every target has seeds", () => {
  const names = targetNames();
  expect(names.length).toBeGreaterThan(5);
  expect(names.filter((name) => seedFiles(name).length === 0)).toEqual([]);
});
