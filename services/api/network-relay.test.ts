import { describe, expect, it } from "vitest";
import { formatNetworkRelay, parseNetworkRelay } from "./network-relay.ts";

const publicKey = "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=";
const key = { publicKey, port: 51842 };

describe("the label of a node's part in relaying", () => {
  it.each([
    { key, wanted: false, reached: [] },
    { key, wanted: true, reached: [] },
    { key, wanted: true, reached: ["m1", "m2"] },
  ])("is read as it was written: $wanted $reached", (relay) => {
    expect(parseNetworkRelay(formatNetworkRelay(relay))).toEqual(relay);
  });

  it("is the same for the same managers", () => {
    const label = (reached: readonly string[]) => formatNetworkRelay({ key, wanted: true, reached });
    expect(label(["m2", "m1"])).toBe(label(["m1", "m2"]));
  });

  it.each([
    ["nothing", ""],
    ["no key", "wanted m1"],
    ["a broken key", "51842/AAAA= wanted"],
    ["port 0", `0/${publicKey}`],
  ])("says nothing with %s", (_what, text) => expect(parseNetworkRelay(text)).toBeUndefined());

  it.each<[string, string, readonly string[]]>([
    ["words that are no ids", `51842/${publicKey} wanted --help m1 M2 ${"a".repeat(33)}`, ["m1"]],
    ["ids of one that wants nothing", `51842/${publicKey} m1 m2`, []],
    ["too many ids", `51842/${publicKey} wanted${" m1".repeat(1_000)}`, Array(16).fill("m1")],
  ])("leaves out %s", (_what, text, reached) => {
    expect(parseNetworkRelay(text)?.reached).toEqual(reached);
  });
});
