import { Peer, WeightedPeer } from "@starling/api";
import { seededRandom } from "@starling/base";
import { describe, expect, it } from "vitest";
import { Remotes } from "./remotes.ts";

const peers = (...addresses: readonly string[]) =>
  addresses.map((addr) => WeightedPeer.create({ peer: Peer.create({ addr }), weight: 10 }));

/** How often each of 1,000 choices was which. */
function choices(remotes: Remotes): Readonly<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (let n = 0; n < 1_000; n++) {
    const address = remotes.select()!;
    counts[address] = (counts[address] ?? 0) + 1;
  }
  return counts;
}

describe("managers that a node turns to", () => {
  it("are chosen at random by weight: who answers weighs more, who fails hardly any more", () => {
    const remotes = new Remotes(["a", "b", "c"], seededRandom(7));
    for (let n = 0; n < 3; n++) remotes.answered("a");
    for (let n = 0; n < 5; n++) remotes.failed("c");
    const { a = 0, b = 0, c = 0 } = choices(remotes);
    expect(a).toBeGreaterThan(3 * b);
    expect(b).toBeGreaterThan(3 * c);
  });

  it("weigh no more than 256 whatever they did, so that one may still be lost and found", () => {
    const remotes = new Remotes(["a", "b"], seededRandom(7));
    for (let n = 0; n < 1_000; n++) remotes.answered("a");
    for (let n = 0; n < 27; n++) remotes.failed("a");
    const { a = 0, b = 0 } = choices(remotes);
    expect(b).toBeGreaterThan(a);
  });

  it("are those that the managers list, unless they list none; avoided ones come last", () => {
    const remotes = new Remotes(["a"], seededRandom(7));
    remotes.replace(peers("b", "c"));
    remotes.replace([]);
    expect(remotes.addresses).toEqual(["b", "c"]);
    expect(remotes.select(new Set(["b"]))).toBe("c");
    expect(["b", "c"]).toContain(remotes.select(new Set(["b", "c"])));
    expect(new Remotes([], seededRandom(7)).select()).toBeUndefined();
  });
});
