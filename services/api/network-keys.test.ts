import { describe, expect, it } from "vitest";
import { formatNetworkKeys, parseNetworkKeys } from "./network-keys.ts";

const a = "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=";
const b = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";

describe("the label of a node's public keys", () => {
  it("is read as it was written", () => {
    const keys = [
      { publicKey: b, port: 51841 },
      { publicKey: a, port: 51840 },
    ];
    expect(parseNetworkKeys(formatNetworkKeys(keys))).toEqual(keys);
    expect(parseNetworkKeys("")).toEqual([]);
  });

  it.each([
    ["no port", a],
    ["port 0", `0/${a}`],
    ["a port beyond 65535", `65536/${a}`],
    ["a short key", "51840/AAAA="],
    ["bits beyond 32 bytes", `51840/${a.slice(0, -2)}x=`],
    ["words for a command line", "51840/--help"],
  ])("has nothing for %s", (_what, text) => {
    expect(parseNetworkKeys(text)).toEqual([]);
  });

  it("has a key once, and two at most", () => {
    expect(parseNetworkKeys(`1/${a} 2/${a} 3/${b}`)).toEqual([
      { port: 1, publicKey: a },
      { port: 3, publicKey: b },
    ]);
    const c = a.replace("H", "G");
    expect(parseNetworkKeys(`1/${a} 2/${b} 3/${c}`)).toHaveLength(2);
  });
});
