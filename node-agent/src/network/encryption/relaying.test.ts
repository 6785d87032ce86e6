import { NetworkStateKey, NetworkStateNode, NetworkStateRelay } from "@starling/api";
import { FakeClock, nullLogger } from "@starling/base";
import { beforeEach, describe, expect, it } from "vitest";
import { NetworkView } from "../state.ts";
import { relayAddress } from "./addresses.ts";
import { newKeyPair } from "./key-pair.ts";
import type { TunnelPeerState, TunnelState } from "./plan-tunnel.ts";
import { Relaying } from "./relaying.ts";
import { NoEncryption, type WireGuard } from "./wireguard.ts";

const tunnel = "sw0-self";
const keys = { peer: newKeyPair().publicKey, peerRelay: newKeyPair().publicKey, manager: newKeyPair().publicKey };

let clock: FakeClock;
let relaying: Relaying;
/** The relay device; undefined: there is none. */
let device: TunnelState | undefined;
let refusal: Error | undefined;
/** What the tunnel shows of the peer. */
let peer: TunnelPeerState;
let peerWants: boolean;
let isManager: boolean;

const wireguard: WireGuard = {
  show: async () => device,
  create: async () => {
    if (refusal !== undefined) throw refusal;
    device = { privateKey: "(none)", publicKey: "(none)", port: 0, since: undefined, peers: new Map() };
  },
  setKey: async (_device, { privateKey, port, since }) => {
    device = { ...device!, privateKey, port, since, publicKey: privateKey };
  },
  set: async (_device, args) => {
    const peers = new Map(device!.peers);
    for (const words of args
      .join(" ")
      .split(/ ?peer /)
      .slice(1)) {
      const [, key = "", endpoint, keepalive, allowed = ""] =
        /^(\S+)(?: endpoint (\S+))? persistent-keepalive (\d+) allowed-ips(?: (\S+))?/.exec(words) ?? [];
      const old = peers.get(key) ?? { handshake: 0, received: 0, sent: 0 };
      const allowedIps = allowed === "" ? [] : allowed.split(",");
      peers.set(key, { ...old, endpoint, keepalive: Number(keepalive), allowedIps });
    }
    device = { ...device!, peers };
  },
  remove: async () => {
    device = undefined;
  },
  watch: () => () => {},
};

function view(): NetworkView {
  const key = (publicKey: string, port: number) => NetworkStateKey.create({ publicKey, port });
  const relay = (publicKey: string, fields: Partial<NetworkStateRelay>) =>
    NetworkStateRelay.create({ key: key(publicKey, 51842), ...fields });
  const { label } = relaying;
  const nodes = [
    NetworkStateNode.create({
      ...{ id: "self", underlayAddress: "10.0.0.1", mayRelay: isManager },
      ...(label && { relay: relay(label.key.publicKey, { wanted: label.wanted, reached: [...label.reached] }) }),
    }),
    NetworkStateNode.create({
      ...{ id: "peer", underlayAddress: "10.0.0.2", keys: [key(keys.peer, 51840)] },
      ...(peerWants ? { relay: relay(keys.peerRelay, { wanted: true, reached: ["manager"] }) } : {}),
    }),
    NetworkStateNode.create({
      id: "manager",
      underlayAddress: "10.0.0.3",
      mayRelay: true,
      relay: relay(keys.manager, {}),
    }),
  ];
  return NetworkView.of({ nodes });
}

const state = (peers: TunnelState["peers"]): TunnelState => ({
  ...{ privateKey: "k", publicKey: "p", port: 51840, since: 0, peers },
});

/** A look, as the class is brought up to now and then; `nodes` default to the peer. */
async function look(nodes: readonly string[] = ["peer"]): Promise<void> {
  const states = new Map([[tunnel, state(new Map([[keys.peer, peer]]))]]);
  await relaying.bring({ view: view(), nodes: new Set(nodes), states });
  await relaying.tidy();
}

/** Has a peer of the relay device answer, now. */
const answer = (publicKey: string) => {
  const handshake = Math.floor(clock.now() / 1_000);
  const known = device!.peers.get(publicKey)!;
  device = {
    ...device!,
    peers: new Map(device!.peers).set(publicKey, { ...known, handshake, received: known.received + 92 }),
  };
};

const way = () => relaying.way(view(), "peer", [tunnel]);

beforeEach(() => {
  clock = new FakeClock();
  device = undefined;
  refusal = undefined;
  peer = { endpoint: "10.0.0.2:51840", allowedIps: [], handshake: 0, received: 0, sent: 148, keepalive: 25 };
  peerWants = false;
  isManager = false;
  relaying = new Relaying({ nodeId: "self", clock, log: nullLogger, wireguard });
});

describe("a node whose peer does not answer", () => {
  it("waits 7 s, then asks for a relay, and tells which managers answer", async () => {
    await look();
    await clock.advance(6_999);
    await look();
    expect([relaying.label, device]).toEqual([undefined, undefined]);
    await clock.advance(1);
    await look();
    expect(relaying.label).toMatchObject({ wanted: true, reached: [] });
    expect([...device!.peers.keys()].sort()).toEqual([keys.manager, keys.peer].sort());
    answer(keys.manager);
    await look();
    expect(relaying.label?.reached).toEqual(["manager"]);
    expect(way()).toMatchObject({ t: "none", reason: expect.stringContaining("no manager that both reach") });
  });

  it("sends by the relay when the other one wants it, too, and forgets a manager that is silent for 10 s", async () => {
    await relay();
    expect(relaying.addresses(view())).toEqual(new Map([["peer", relayAddress(keys.peerRelay)]]));
    expect(relaying.paths).toMatchObject({ forwards: false, address: relayAddress(relaying.label!.key.publicKey) });
    expect(way()).toMatchObject({ t: "none", reason: expect.stringContaining("through the relay, node manager") });
    peer = { ...peer, handshake: Math.floor(clock.now() / 1_000), received: 92, endpoint: "[fd53:7461:7279::1]:51840" };
    await look();
    expect(way()).toEqual({ t: "relay", manager: "manager" });
    await clock.advance(10_000);
    await look();
    expect(relaying.label?.reached).toEqual([]);
    await look();
    expect(relaying.addresses(view()).size).toBe(0);
  });

  it("goes directly again when the other's tunnel answers, and keeps nothing of relays", async () => {
    await relay();
    answer(keys.peer);
    await look();
    expect([relaying.label, relaying.paths, device]).toEqual([undefined, undefined, undefined]);
    expect(relaying.addresses(view()).size).toBe(0);
  });

  it("goes on as before after a restart", async () => {
    await relay();
    peer = { ...peer, handshake: Math.floor(clock.now() / 1_000), endpoint: "[fd53:7461:7279::1]:51840" };
    const told = { label: relaying.label!, view: view() };
    const again = new Relaying({ nodeId: "self", clock, log: nullLogger, wireguard });
    await again.recover();
    const states = new Map([[tunnel, state(new Map([[keys.peer, peer]]))]]);
    const bring = () => again.bring({ view: told.view, nodes: new Set(["peer"]), states });
    await bring();
    await bring();
    expect(again.label).toMatchObject({ wanted: true, reached: ["manager"] });
    expect(again.way(told.view, "peer", [tunnel])).toEqual({ t: "relay", manager: "manager" });
  });

  it("says why there can be no relay", async () => {
    refusal = new NoEncryption("nothing installed");
    await look();
    await clock.advance(7_000);
    await look();
    expect(way()).toEqual({ t: "none", reason: "it does not answer, and there can be no relay: nothing installed" });
    refusal = undefined;
    await look();
    expect(way()).toMatchObject({ reason: expect.stringContaining("no manager that could relay does") });
  });

  /** Has all that a relay needs. */
  async function relay(): Promise<void> {
    await look();
    await clock.advance(10_000);
    await look();
    answer(keys.manager);
    peerWants = true;
    await look();
    await look();
  }
});

describe("a manager", () => {
  it("passes on packets while some node wants that, and no longer", async () => {
    isManager = true;
    await look([]);
    expect([relaying.label, device]).toEqual([undefined, undefined]);
    peerWants = true;
    await look([]);
    expect(relaying.label).toMatchObject({ wanted: false, reached: [] });
    expect(relaying.paths).toMatchObject({ forwards: true, addresses: [relayAddress(keys.peerRelay)] });
    expect(await relaying.differences(view())).toEqual([]);
    device = { ...device!, peers: new Map() };
    expect(await relaying.differences(view())).toEqual([expect.stringContaining("node peer")]);
    peerWants = false;
    await look([]);
    expect([relaying.label, relaying.paths, device]).toEqual([undefined, undefined, undefined]);
  });
});
