import { NetworkPath_Kind, NetworkStateKey, NetworkStateNode, NetworkStateRelay } from "@starling/api";
import { describe, expect, it } from "vitest";
import { NetworkView } from "../state.ts";
import { relayAddress } from "./addresses.ts";
import type { Hearing } from "./hearing.ts";
import { judgeWays, pathOf } from "./judge-ways.ts";
import { newKeyPair } from "./key-pair.ts";
import type { Way } from "./relaying.ts";
import { askingPeers, chooseRelay, isBehindNat, nextWay, relayPeers } from "./ways.ts";

const keys = new Map<string, string>();
/** The same for the same name. */
const keyOf = (name: string): string => {
  if (!keys.has(name)) keys.set(name, newKeyPair().publicKey);
  return keys.get(name)!;
};
const addressOf = (name: string) => relayAddress(keyOf(`relay ${name}`));

/** `a>m1,m2`: wants relays and reaches those; `m1+`: a manager that relays; `m1`: a manager that doesn't yet; `m1-`: one that is down. */
function view(...texts: readonly string[]): NetworkView {
  const nodes = texts.map((text, i) => {
    const [, id = "", sign = "", reached = ""] = /^(\w+)([>+-]?)(.*)$/.exec(text)!;
    const key = NetworkStateKey.create({ publicKey: keyOf(`relay ${id}`), port: 51842 });
    return NetworkStateNode.create({
      ...{ id, underlayAddress: `10.0.0.${i + 1}`, mayRelay: id.startsWith("m") && sign !== "-" },
      keys: [NetworkStateKey.create({ publicKey: keyOf(id), port: 51840 })],
      ...(sign === ""
        ? {}
        : { relay: NetworkStateRelay.create({ key, wanted: sign === ">", reached: reached.split(",") }) }),
    });
  });
  return NetworkView.of({ nodes });
}

describe("the way to a node", () => {
  const now = 100_000;
  const patience = { firstMs: 10_000, dueMs: 15_000 };
  const base = { asked: undefined, handshake: 0, received: 0, sent: 0 };
  const silent: Hearing = { ...base, since: now - 10_000, heard: undefined };
  const heard: Hearing = { ...base, since: 0, heard: now - 1 };
  const peer = (hearing: Hearing, relayed = false) => ({ hearing, relayed });
  const look = { down: false, peers: [peer(silent)], answersDirectly: false };
  const before = now - 5_000;

  it.each<[string, number | undefined, Parameters<typeof nextWay>[1], number | undefined]>([
    ["is a relay from when none of its keys answers", undefined, look, now],
    [
      "stays direct while one of its keys answers",
      undefined,
      { ...look, peers: [peer(silent), peer(heard)] },
      undefined,
    ],
    ["stays direct while its host is down", undefined, { ...look, down: true }, undefined],
    ["stays direct before it has any peer", undefined, { ...look, peers: [] }, undefined],
    ["is a relay when it sends by one", undefined, { ...look, peers: [peer(heard, true)] }, now],
    ["stays a relay while it is heard by that", before, { ...look, peers: [peer(heard, true)] }, before],
    ["stays a relay while nothing is heard", before, look, before],
    ["is direct again when it is heard so", before, { ...look, peers: [peer(heard)] }, undefined],
    ["is no matter of what was heard before", now, { ...look, peers: [peer(heard)] }, now],
    ["is direct again when it answers what asks so", before, { ...look, answersDirectly: true }, undefined],
  ])("%s", (_what, way, looked, expected) => {
    expect(nextWay(way, looked, now, patience)).toBe(expected);
  });
});

describe("the manager that relays", () => {
  it.each<[string, readonly string[], string | undefined]>([
    ["is one that both reach", ["a>m1,m2", "b>m2,m3", "m1+", "m2+", "m3+"], "m2"],
    ["is none when there is none of these", ["a>m1", "b>m2", "m1+", "m2+"], undefined],
    ["is none that is down", ["a>m1", "b>m1", "m1-"], undefined],
    ["is none that has no device for it yet", ["a>m1", "b>m1", "m1"], undefined],
    ["is none while one side asks for none", ["a>m1", "b", "m1+"], undefined],
    ["is none of the two", ["a>m1", "m1>a", "m2+"], undefined],
    ["is no worker, whatever a node says", ["a>c", "b>c", "c+"], undefined],
  ])("%s", (_what, texts, expected) => {
    const [a, b] = texts.map((text) => /^\w+/.exec(text)![0]) as [string, string];
    expect(chooseRelay(view(...texts), a, b)).toBe(expected);
  });

  it("is the same in both nodes' eyes, and another one for other pairs", () => {
    const all = view("m1+", "m2+", "m3+", ...Array.from({ length: 20 }, (_, i) => `n${i}>m3,m1,m2`));
    const chosen = new Set<string | undefined>();
    for (let i = 1; i < 20; i++) {
      chosen.add(chooseRelay(all, "n0", `n${i}`));
      expect(chooseRelay(all, `n${i}`, "n0")).toBe(chooseRelay(all, "n0", `n${i}`));
    }
    expect(chosen).toEqual(new Set(["m1", "m2", "m3"]));
  });
});

describe("peers of a relay device", () => {
  const relayKey = (name: string) => keyOf(`relay ${name}`);

  it("are all managers, the chosen one with the other node behind it, and the node's own tunnel to be asked", () => {
    const peers = relayPeers(view("a>m1", "b>m1", "m1+", "m2+", "m3-"), "a", new Map([["b", "m1"]]));
    expect(Object.fromEntries(peers)).toEqual({
      [relayKey("m1")]: {
        nodeId: "m1",
        endpoint: "10.0.0.3:51842",
        addresses: [addressOf("m1"), addressOf("b")],
        keepalive: 2,
      },
      [relayKey("m2")]: { nodeId: "m2", endpoint: "10.0.0.4:51842", addresses: [addressOf("m2")], keepalive: 2 },
      [keyOf("b")]: { nodeId: "b", endpoint: "10.0.0.2:51840", addresses: [], keepalive: 25 },
    });
  });

  it("are, at a manager, the nodes that want relays, each with its own address alone", () => {
    const peers = relayPeers(view("a>m1", "b>m1", "c", "m1+", "m2+"), "m1", new Map());
    expect(Object.fromEntries(peers)).toEqual({
      [relayKey("a")]: { nodeId: "a", endpoint: undefined, addresses: [addressOf("a")], keepalive: 2 },
      [relayKey("b")]: { nodeId: "b", endpoint: undefined, addresses: [addressOf("b")], keepalive: 2 },
    });
  });

  it("are none at a worker that others' labels name", () => {
    expect(relayPeers(view("a>c", "b>c", "c+"), "c", new Map()).size).toBe(0);
  });

  it("have each address once, even where a manager wants a relay to one that does", () => {
    const both = relayPeers(view("m1>m3", "m2>m3", "m3+"), "m1", new Map([["m2", "m3"]]));
    const addresses = [...both.values()].flatMap((peer) => peer.addresses);
    expect(new Set(addresses).size).toBe(addresses.length);
    expect(both.get(relayKey("m3"))!.addresses).toEqual([addressOf("m3"), addressOf("m2")]);
  });

  it("are the managers still when a node tells a manager's key as its own", () => {
    const told = view("a>m1", "b>m1", "m1+");
    const key = NetworkStateKey.create({ publicKey: relayKey("m1"), port: 51840 });
    const nodes = [...told.nodes.values(), { ...told.nodes.get("b")!, keys: [key] }];
    const peers = relayPeers(NetworkView.of({ nodes }), "a", new Map([["b", "m1"]]));
    expect([...peers.keys()]).toEqual([relayKey("m1")]);
    expect(peers.get(relayKey("m1"))).toMatchObject({ nodeId: "m1", endpoint: "10.0.0.3:51842" });
  });

  it("are known to tunnels, where they may send nothing", () => {
    expect([...askingPeers(view("a>m1", "b", "m1+"), ["a", "b", "m1"])]).toEqual([
      [relayKey("a"), { nodeId: "a", endpoint: undefined, addresses: [], keepalive: 0 }],
    ]);
  });
});

describe("what a check says of a way", () => {
  const { DIRECT, KEEPALIVE, RELAY, NONE } = NetworkPath_Kind;
  const nodes = [
    ["open", "10.0.0.1"],
    ["inner", "192.168.1.2"],
  ].map(([id = "", host = ""]) => {
    const underlayAddress = id === "open" ? host : "203.0.113.1";
    return NetworkStateNode.create({ id, underlayAddress, hostAddresses: [host] });
  });
  const known = NetworkView.of({ nodes });
  const none = { t: "none", reason: "it does not answer" } as const;

  it.each([
    ["direct", { t: "direct" }, "other", { kind: DIRECT, relayNodeId: "" }],
    ["direct by a way that is kept open", { t: "direct" }, "inner", { kind: KEEPALIVE, relayNodeId: "" }],
    ["by a relay", { t: "relay", manager: "m1" }, "inner", { kind: RELAY, relayNodeId: "m1" }],
    ["none", none, "inner", { kind: NONE, relayNodeId: "" }],
  ] as const)("%s", (_what, way, to, expected) => {
    expect(pathOf(known, { from: "open", to, way })).toEqual({ nodeId: to, ...expected });
  });

  it("is a finding for a node that packets don't get to, and for no other", () => {
    expect(
      judgeWays(
        new Map<string, Way>([
          ["x", none],
          ["y", { t: "direct" }],
          ["z", { t: "relay", manager: "m1" }],
        ]),
      ),
    ).toEqual([
      { subject: "encryption", detail: "packets of encrypted networks don't get to node x: it does not answer" },
    ]);
  });

  it("takes no node for one behind a NAT that has told no address", () => {
    expect([...nodes.values(), NetworkStateNode.create({ underlayAddress: "10.0.0.9" })].map(isBehindNat)).toEqual([
      false,
      true,
      false,
    ]);
  });
});
