import { describe, expect, it } from "vitest";
import { UsageError } from "../usage-error.ts";
import { parsePublish } from "./port.ts";
import {
  parseBytes,
  parseDuration,
  parseNanoCpus,
  parsePairs,
  parseRatio,
  splitArguments,
  splitCommas,
  splitWords,
} from "./values.ts";

describe("parseDuration", () => {
  it.each([
    ["5s", 5, 0],
    ["1m30s", 90, 0],
    ["1.5h", 5400, 0],
    ["250ms", 0, 250_000_000],
    ["2h45m0.5s", 9900, 500_000_000],
    ["-1.5s", -1, -500_000_000],
    ["0", 0, 0],
    ["10us", 0, 10_000],
  ])("%s", (text, seconds, nanos) => {
    expect(parseDuration(text)).toEqual({ seconds, nanos });
  });

  it.each(["", "5", "s", "1d", "5 s", "1s1", "--1s", "1e3s"])("refuses %j", (text) => {
    expect(() => parseDuration(text)).toThrow(UsageError);
  });
});

describe("sizes, CPUs, ratios", () => {
  it.each([
    ["4096", 4096],
    ["512m", 512 * 2 ** 20],
    ["1.5g", 1.5 * 2 ** 30],
    ["64MiB", 2 ** 26],
    ["1 GB", 2 ** 30],
  ])("%s", (text, bytes) => {
    expect(parseBytes(text)).toBe(bytes);
  });

  it.each(["", "m", "-1m", "1x", "1e9"])("refuses %j as a size", (text) => {
    expect(() => parseBytes(text)).toThrow(UsageError);
  });

  it("reads fractions of CPUs and ratios", () => {
    expect([parseNanoCpus("0.001"), parseNanoCpus(".5"), parseNanoCpus("2")]).toEqual([1e6, 5e8, 2e9]);
    expect([parseRatio("0"), parseRatio("0.25"), parseRatio("1")]).toEqual([0, 0.25, 1]);
    for (const text of ["1.1", "-0.1", "", "x"]) expect(() => parseRatio(text)).toThrow(UsageError);
  });
});

describe("lists in one flag", () => {
  it("splits at commas, keeps quoted ones", () => {
    expect(splitCommas('a,"b,c",d""e,')).toEqual(["a", "b,c", "de", ""]);
    expect(() => splitCommas('a,"b')).toThrow("a double quote is not closed");
  });

  it("splits as a shell does", () => {
    expect(splitWords(`sh -c 'echo "a b"' "" x\\ y`)).toEqual(["sh", "-c", 'echo "a b"', "", "x y"]);
  });

  it("tells SwarmKit's form from Docker's by a comma outside quotes", () => {
    expect(splitArguments("a,b c")).toEqual(["a", "b c"]);
    expect(splitArguments("sh -c 'a, b'")).toEqual(["sh", "-c", "a, b"]);
  });

  it("reads pairs, the last one wins", () => {
    expect(parsePairs(["a=1=2", "b", "a=3"])).toEqual({ a: "3", b: "" });
    expect(() => parsePairs(["=1"])).toThrow("has no key");
  });
});

describe("parsePublish", () => {
  const short = (text: string) =>
    parsePublish(text).map(({ publishedPort, targetPort, protocol, publishMode }) =>
      [publishedPort, targetPort, protocol, publishMode].join(" "),
    );
  it.each([
    ["8080:80", ["8080 80 0 0"]],
    ["80", ["0 80 0 0"]],
    [":80", ["0 80 0 0"]],
    ["53:53/udp", ["53 53 1 0"]],
    ["8000-8001:80-81", ["8000 80 0 0", "8001 81 0 0"]],
    ["8080:80,mode=host", ["8080 80 0 1"]],
    ["published=8080,target=80,protocol=sctp,mode=host", ["8080 80 2 1"]],
    ["target=80", ["0 80 0 0"]],
  ])("%s", (text, ports) => {
    expect(short(text)).toEqual(ports);
  });

  it.each([
    "",
    "a",
    "0:80",
    "80:70000",
    "1:2:3",
    "80/icmp",
    "80/tcp/udp",
    "8080:80,mode=all",
    "published=1",
    "80,x",
    "2-1:2-1",
  ])("refuses %j", (text) => {
    expect(() => parsePublish(text)).toThrow(UsageError);
  });
});
