import { NetworkStateEndpoint, NetworkStateKey, NetworkStateNetwork, NetworkStateNode } from "@starling/api";
import { describe, expect, it } from "vitest";
import { NetworkView } from "../state.ts";
import { tunnelAddress } from "./addresses.ts";
import { newKeyPair } from "./key-pair.ts";
import {
  callsFirst,
  formatSince,
  parseDump,
  parseSince,
  planTunnel,
  setArguments,
  type TunnelPeerState,
} from "./plan-tunnel.ts";
import { haveMet, type OwnKey, orderKeys, restOfKey } from "./rotation.ts";
import { desiredPeers, encryptedWith, type TunnelPeer, tunnelPaths } from "./tunnels.ts";

const keyA = "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=";
const keyB = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
const addressA = "fd53:7461:726c:1c88:28f7:1373:24c5:8b28";

/** Nodes a, b, c; `tasks` are `network/node`, with `!` when published by a service of an encrypted network. */
function view(tasks: readonly string[], keys: Readonly<Record<string, readonly string[]>> = {}): NetworkView {
  const network = (id: string) =>
    NetworkStateNetwork.create({ id, encrypted: id.startsWith("secret"), ingress: id === "ingress" });
  const endpoints = tasks.map((text, i) => {
    const [networkId = "", nodeId = ""] = text.replace("!", "").split("/");
    return NetworkStateEndpoint.create({ networkId, nodeId, taskId: `t${i}`, encrypted: text.endsWith("!") });
  });
  const node = (id: string, i: number) =>
    NetworkStateNode.create({
      id,
      underlayAddress: `10.0.0.${i + 1}`,
      keys: (keys[id] ?? []).map((publicKey) => NetworkStateKey.create({ publicKey, port: 51840 })),
    });
  const networks = ["secret", "secret2", "open", "ingress"].map(network);
  return NetworkView.of({ networks, nodes: ["a", "b", "c"].map(node), endpoints });
}

describe("whom a node has tunnels with", () => {
  it.each<[string, readonly string[], readonly string[] | undefined]>([
    ["nobody, when its networks are open", ["open/a", "open/b"], undefined],
    ["nobody, when others have encrypted ones", ["open/a", "secret/b", "secret/c"], undefined],
    ["those that share an encrypted network", ["secret/a", "secret/b", "secret2/c"], ["b"]],
    ["nobody yet, when it is the first there", ["secret/a"], []],
    ["every node, when it has a published task", ["secret/a", "ingress/a!"], ["b", "c"]],
    ["those that have published tasks", ["ingress/b!"], ["b"]],
    ["not those that publish in the open", ["ingress/b", "ingress/a"], undefined],
  ])("%s", (_what, tasks, expected) => {
    const nodes = encryptedWith(view(tasks), "a", []);
    expect(nodes && [...nodes].sort()).toEqual(expected);
  });

  it("counts tasks here that the managers have not told yet", () => {
    expect(encryptedWith(view([]), "a", ["secret"])).toEqual(new Set());
    expect(encryptedWith(view([]), "a", ["open"])).toBeUndefined();
  });
});

describe("peers", () => {
  it("are all keys of the nodes; packets go to the first", () => {
    const state = view([], { b: [keyB, keyA] });
    const peers = desiredPeers(state, ["b", "c"]);
    expect([...peers]).toEqual([
      [keyB, { nodeId: "b", endpoint: "10.0.0.2:51840", addresses: [tunnelAddress(keyB)], keepalive: 25 }],
      [keyA, { nodeId: "b", endpoint: "10.0.0.2:51840", addresses: [addressA], keepalive: 25 }],
    ]);
    const paths = tunnelPaths(state, [{ device: "sw0-a", address: "fd53::1" }], peers);
    expect([...paths.nodes]).toEqual([["b", tunnelAddress(keyB)]]);
    expect(paths.addresses).toEqual([tunnelAddress(keyB), addressA]);
  });

  it("are sent what is for a relayed node by its relay device", () => {
    const peers = desiredPeers(view([], { b: [keyB] }), ["b"], new Map([["b", "fd53:7461:7279::1"]]));
    expect(peers.get(keyB)?.endpoint).toBe("[fd53:7461:7279::1]:51840");
  });

  const peer = { nodeId: "b", endpoint: "10.0.0.2:51840", addresses: [addressA], keepalive: 25 };
  const there: TunnelPeerState = {
    endpoint: "10.0.0.2:51840",
    allowedIps: [`${addressA}/128`],
    handshake: 1_000,
    received: 5,
    sent: 6,
    keepalive: 25,
  };
  const found = { ...peer, endpoint: undefined };
  it.each<[string, Partial<TunnelPeerState> | undefined, TunnelPeer | undefined]>([
    ["stays as it is", {}, undefined],
    ["is set when missing", undefined, peer],
    ["is set when it has another address", { allowedIps: ["::/0"] }, found],
    ["is set when nothing keeps the way open", { keepalive: 0 }, found],
    ["stays where it was found while its session lives", { endpoint: "192.0.2.1:7" }, undefined],
    ["stays there, too, when something else is set", { endpoint: "192.0.2.1:7", keepalive: 0 }, found],
    ["is called where it should be when it has none", { endpoint: "192.0.2.1:7", handshake: 800 }, peer],
  ])("a peer %s", (_what, fields, set) => {
    const observed = new Map(fields === undefined ? [] : [[keyA, { ...there, ...fields }]]);
    const plan = planTunnel(new Map([[keyA, peer]]), observed, 1_100);
    expect(plan).toEqual({ set: new Map(set && [[keyA, set]]), anew: [], remove: [] });
  });

  it.each([
    ["a relay", "[fd53:7461:7279::1]:51840", "192.0.2.1:7"],
    ["the node itself", "10.0.0.2:51840", "[fd53:7461:7279::1]:51840"],
  ])("a peer is called anew at %s, however well it answers at the other", (_what, endpoint, old) => {
    const desired = new Map([[keyA, { ...peer, endpoint }]]);
    const plan = planTunnel(desired, new Map([[keyA, { ...there, endpoint: old }]]), 1_100);
    expect(plan).toEqual({ set: desired, anew: [keyA], remove: [] });
    expect(setArguments(plan).join(" ")).toMatch(/^peer (\S+) remove peer \1 endpoint /);
  });

  it.each<[string, string, Partial<TunnelPeerState> | undefined, boolean]>([
    ["calls first when it is new and its node's id is the lesser", "c", undefined, true],
    ["is called at once when this node's id is the lesser", "a", undefined, false],
    ["calls first again when it is called anew", "c", { endpoint: "[fd53:7461:7279::1]:51840" }, true],
    ["has had its time to call once it is there", "c", { keepalive: 0 }, false],
  ])("%s", (_what, self, fields, callsUs) => {
    const observed = new Map(fields === undefined ? [] : [[keyA, { ...there, ...fields }]]);
    const plan = planTunnel(new Map([[keyA, peer]]), observed, 1_100);
    const first = callsFirst(plan, observed, self);
    expect([...first]).toEqual(callsUs ? [keyA] : []);
    expect(setArguments(plan, first).join(" ")).toContain(`persistent-keepalive ${callsUs ? 0 : 25} `);
  });

  it("is let send nothing when it only asks", () => {
    const asking = { nodeId: "b", endpoint: undefined, addresses: [], keepalive: 0 };
    const desired = new Map([[keyA, asking]]);
    expect(setArguments({ set: desired, anew: [] })).toEqual([
      "peer",
      keyA,
      "persistent-keepalive",
      "0",
      "allowed-ips",
      "",
    ]);
    const observed = { ...there, allowedIps: [], keepalive: 0 };
    expect(planTunnel(desired, new Map([[keyA, observed]]), 9_999).set.size).toBe(0);
  });

  it("go when their node has gone", () => {
    expect(planTunnel(new Map(), new Map([[keyA, there]]), 0).remove).toEqual([keyA]);
  });

  it("are set by wg's words, and read from its dump", () => {
    expect(setArguments({ set: new Map([[keyA, peer]]), anew: [] }).join(" ")).toBe(
      `peer ${keyA} endpoint 10.0.0.2:51840 persistent-keepalive 25 allowed-ips ${addressA}/128`,
    );
    const dump = `PRIVATE\t${keyB}\t51840\toff\n${keyA}\t(none)\t10.0.0.2:51840\t${addressA}/128\t1000\t5\t6\t25\n`;
    expect(parseDump(dump)).toEqual({
      privateKey: "PRIVATE",
      publicKey: keyB,
      port: 51840,
      peers: new Map([[keyA, there]]),
    });
    expect(parseDump("(none)\t(none)\t0\toff\n").peers.size).toBe(0);
  });
});

describe("rotation", () => {
  const state = (handshake: number) => ({
    ...parseDump(`k\tp\t1\toff\n${keyA}\t(none)\t(none)\t(none)\t${handshake}\t0\t0\t25\n`),
    since: undefined,
  });
  const desired = new Map([[keyA, { nodeId: "b", endpoint: undefined, addresses: [addressA], keepalive: 25 }]]);
  it.each<[string, number, number, boolean]>([
    ["waits for a peer that answers the old key", 950, 0, false],
    ["goes on when it answers the new one", 950, 999, true],
    ["doesn't wait for one that is away", 700, 0, true],
  ])("%s", (_what, old, fresh, expected) => {
    expect(haveMet({ before: state(old), next: state(fresh), desired, nowSeconds: 1_000 })).toBe(expected);
  });

  it.each<[string, number, number]>([
    ["all of its time", 5_000, 100],
    ["what is left", 4_960, 60],
    ["none, when it is older", 3_000, 0],
    ["no more than that, when the clock was set back", 9_000, 100],
  ])("a key has %s", (_what, since, expected) => {
    expect(restOfKey(since, { now: 5_000, rotateAfterMs: 100 })).toBe(expected);
  });

  it("reads a key's time from what is written on its device, and from nothing else", () => {
    expect(parseSince(formatSince(1_795_000_000_123))).toBe(1_795_000_000_123);
    for (const alias of ["", "key of ", "key of -1", "key of 1e9", "key of 1 ", `key of ${"9".repeat(16)}`])
      expect(parseSince(alias), alias).toBeUndefined();
  });

  it("goes on after a restart by the key that others were told first", () => {
    const key = (publicKey: string): OwnKey => ({ publicKey, port: 1, slot: 0, device: "", privateKey: "", since: 0 });
    const order = (told: readonly string[]) =>
      orderKeys(
        [key(keyA), key(keyB)],
        told.map((publicKey) => ({ publicKey, port: 1 })),
      ).map((k) => k.publicKey);
    expect(order([keyB, keyA])).toEqual([keyB, keyA]);
    expect(order([keyB])).toEqual([keyB, keyA]);
    expect(order([])).toEqual([keyA, keyB]);
  });

  it("makes keys as WireGuard writes them", () => {
    const { privateKey, publicKey } = newKeyPair();
    for (const key of [privateKey, publicKey]) expect(Buffer.from(key, "base64")).toHaveLength(32);
    expect(publicKey).not.toBe(privateKey);
  });
});
