import {
  type NetworkKey,
  NetworkStateEndpoint,
  NetworkStateKey,
  NetworkStateNetwork,
  NetworkStateNode,
} from "@starling/api";
import { FakeClock, nullLogger } from "@starling/base";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { NetworkView } from "../state.ts";
import { Encryption } from "./encryption.ts";
import { newKeyPair } from "./key-pair.ts";
import type { TunnelPeerState, TunnelState } from "./plan-tunnel.ts";
import { NoEncryption, type WireGuard } from "./wireguard.ts";

const self = "selfaaaaaaaaaaaaaaaaaaaaa";
const peerKey = newKeyPair().publicKey;
const hours = 3_600_000;

let clock: FakeClock;
let devices: Map<string, TunnelState>;
let log: string[];
let refusal: Error | undefined;
/** Seconds since the epoch of new peers' handshakes; 0: they don't answer. */
let handshake: number;
const gone = new Map<string, () => void>();

const wireguard: WireGuard = {
  show: async (device) => devices.get(device),
  create: async (device) => {
    if (refusal !== undefined) throw refusal;
    log.push(`create ${device.slice(0, 3)}`);
    devices.set(device, { privateKey: "(none)", publicKey: "(none)", port: 0, since: undefined, peers: new Map() });
  },
  setKey: async (device, { privateKey, port, since }) => {
    devices.set(device, { ...devices.get(device)!, privateKey, publicKey: `public of ${privateKey}`, port, since });
  },
  set: async (device, args) => {
    const state = devices.get(device)!;
    const peers = new Map(state.peers);
    const key = args[1]!;
    const after = (word: string) => (args.includes(word) ? args[args.indexOf(word) + 1] : undefined);
    const made: TunnelPeerState = {
      endpoint: after("endpoint") ?? peers.get(key)?.endpoint,
      allowedIps: [after("allowed-ips")!],
      keepalive: Number(after("persistent-keepalive")),
      ...{ handshake, received: 0, sent: 0 },
    };
    if (args.includes("remove")) peers.delete(key);
    else peers.set(key, made);
    log.push(`${args.includes("remove") ? "remove" : "add"} peer of ${device.slice(0, 3)}`);
    devices.set(device, { ...state, peers });
  },
  remove: async (device) => {
    log.push(`remove ${device.slice(0, 3)}`);
    devices.delete(device);
  },
  watch: (device, onGone) => {
    gone.set(device, onGone);
    return () => gone.delete(device);
  },
};

/** Whether there is another node, its id, and whether the network has tasks. */
let others: boolean;
let otherId: string;
let inUse: boolean;

/** What the managers say: the own keys as told, and a network that all nodes are on. */
function view(own: readonly NetworkKey[]): NetworkView {
  const node = (id: string, keys: readonly NetworkKey[]) =>
    NetworkStateNode.create({ id, underlayAddress: "10.0.0.2", keys: keys.map(NetworkStateKey.create) });
  const endpoint = (nodeId: string) => NetworkStateEndpoint.create({ networkId: "secret", nodeId, taskId: nodeId });
  const nodes = [node(self, own), ...(others ? [node(otherId, [{ publicKey: peerKey, port: 51840 }])] : [])];
  const networks = [NetworkStateNetwork.create({ id: "secret", encrypted: true })];
  return NetworkView.of({ networks, nodes, endpoints: inUse ? nodes.map(({ id }) => endpoint(id)) : [] });
}

/** One whose keys come back from the managers at once. */
function start(): Encryption {
  const encryption: Encryption = new Encryption({
    ...{ nodeId: self, clock, log: nullLogger, wireguard },
    apply: async () => {
      log.push("apply");
    },
    changed: () => void encryption.update(view(encryption.publicKeys), []),
  });
  return encryption;
}

const slots = (encryption: Encryption) => encryption.publicKeys.map(({ port }) => port);

beforeEach(() => {
  clock = new FakeClock();
  devices = new Map();
  log = [];
  others = true;
  otherId = "tother";
  inUse = true;
  refusal = undefined;
  handshake = Math.floor(clock.now() / 1_000);
  gone.clear();
});

describe("a node's end of encrypted networks", () => {
  it("has its peers before paths lead to them, and loses them after", async () => {
    const encryption = start();
    await encryption.update(view([]), []);
    expect(log).toEqual(["create sw0", "add peer of sw0", "apply"]);
    expect(encryption.ready).toBe(true);
    log = [];
    others = false;
    await encryption.update(view(encryption.publicKeys), []);
    expect(log).toEqual(["apply", "remove peer of sw0"]);
    log = [];
    inUse = false;
    await encryption.update(view(encryption.publicKeys), []);
    expect(log).toEqual(["apply", "remove sw0"]);
    expect({ paths: encryption.paths, keys: encryption.publicKeys }).toEqual({ paths: undefined, keys: [] });
    await encryption.close();
  });

  it("calls a peer that should call first when that has not, or when somebody looks whether all is as it should be", async () => {
    otherId = "other";
    const keepalive = () => [...devices.values()][0]?.peers.get(peerKey)?.keepalive;
    const looks = [() => clock.advance(1), (encryption: Encryption) => encryption.differences()];
    for (const look of looks) {
      devices.clear();
      const encryption = start();
      await encryption.update(view([]), []);
      await clock.advance(249);
      expect(keepalive()).toBe(0);
      await look(encryption);
      await vi.waitFor(() => expect(keepalive()).toBe(25));
      expect(await encryption.differences()).toEqual([]);
      await encryption.close();
    }
  });

  it("is not ready until the managers know its key", async () => {
    const encryption = new Encryption({
      ...{ nodeId: self, clock, log: nullLogger, wireguard, apply: async () => {}, changed: () => {} },
    });
    await encryption.update(view([]), []);
    expect(encryption.ready).toBe(false);
    await encryption.update(view(encryption.publicKeys), []);
    expect(encryption.ready).toBe(true);
    await encryption.close();
  });

  it("replaces its key after 12 hours, by it once all have met it, and keeps the old one for 5 minutes more", async () => {
    const encryption = start();
    await encryption.update(view([]), []);
    // The session by the old key goes on; the new one is not answered yet.
    const [old] = devices.keys();
    const alive = { ...devices.get(old!)!.peers.get(peerKey)!, handshake: handshake + 12 * 3_600 };
    const answered = (device: string) =>
      devices.set(device, { ...devices.get(device)!, peers: new Map([[peerKey, alive]]) });
    answered(old!);
    handshake = 0;
    await clock.advance(12 * hours - 1);
    expect(slots(encryption)).toEqual([51840]);
    await clock.advance(1);
    await vi.waitFor(() => expect(slots(encryption)).toEqual([51840, 51841]));
    const [, fresh] = devices.keys();
    await clock.advance(500);
    await encryption.update(view(encryption.publicKeys), []);
    expect(slots(encryption)).toEqual([51840, 51841]);
    answered(fresh!);
    await clock.advance(500);
    await vi.waitFor(() => expect(slots(encryption)).toEqual([51841, 51840]));
    await clock.advance(300_000 - 1);
    expect(devices.size).toBe(2);
    await clock.advance(1);
    await vi.waitFor(() => expect([...devices.keys()]).toEqual([fresh]));
    expect(slots(encryption)).toEqual([51841]);
    await encryption.close();
  });

  it("goes on with its present key when a new one can't be had", async () => {
    const encryption = start();
    await encryption.update(view([]), []);
    refusal = new Error("no more devices");
    await encryption.rotate();
    expect({ slots: slots(encryption), problem: encryption.problem }).toEqual({ slots: [51840], problem: undefined });
    await encryption.close();
  });

  it("takes over what a former process left", async () => {
    const former = start();
    await former.update(view([]), []);
    const keys = former.publicKeys;
    await former.close();
    log = [];
    const encryption = start();
    await encryption.update(view(keys), []);
    expect(log).toEqual(["apply"]);
    expect(encryption.publicKeys).toEqual([...devices.values()].map(({ publicKey, port }) => ({ publicKey, port })));
    await encryption.close();
  });

  it("replaces a key when that is 12 hours old, however often it was started anew", async () => {
    let encryption = start();
    await encryption.update(view([]), []);
    const [old] = encryption.publicKeys;
    for (let hour = 1; hour < 12; hour++) {
      await encryption.close();
      await clock.advance(1 * hours);
      encryption = start();
      await encryption.update(view([old!]), []);
    }
    await clock.advance(1 * hours - 1);
    expect(slots(encryption)).toEqual([51840]);
    await clock.advance(1);
    await vi.waitFor(() => expect(slots(encryption)).toContain(51841));
    await encryption.close();
  });

  it("counts the age of a key whose device doesn't tell it from its start on", async () => {
    const former = start();
    await former.update(view([]), []);
    await former.close();
    const [[device, state]] = [...devices] as [[string, TunnelState]];
    devices.set(device, { ...state, since: undefined });
    const encryption = start();
    await encryption.update(view(former.publicKeys), []);
    expect(devices.get(device)).toMatchObject({ privateKey: state.privateKey, since: clock.now() });
    await encryption.close();
  });

  it("makes a device anew, with its key, when it ends", async () => {
    const encryption = start();
    await encryption.update(view([]), []);
    const [[device, { privateKey }]] = [...devices] as [[string, TunnelState]];
    devices.clear();
    gone.get(device)!();
    await vi.waitFor(() => expect(devices.get(device)?.peers.size).toBe(1));
    expect(devices.get(device)!.privateKey).toBe(privateKey);
    await encryption.close();
  });

  it("says what hinders it, whether that lasts, and tries again", async () => {
    const encryption = start();
    refusal = new NoEncryption("nothing installed");
    await encryption.update(view([]), []);
    expect(encryption.problem).toEqual({ message: "nothing installed", lasting: true });
    refusal = new Error("busy");
    await clock.advance(1_000);
    await vi.waitFor(() => expect(encryption.problem).toEqual({ message: "busy", lasting: false }));
    expect(encryption.ready).toBe(false);
    refusal = undefined;
    await clock.advance(1_000);
    await vi.waitFor(() => expect(encryption.ready).toBe(true));
    expect(encryption.problem).toBeUndefined();
    await encryption.close();
  });
});
