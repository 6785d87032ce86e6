import type { NetworkRelay } from "@starling/api";
import type { Clock, Logger, Millis } from "@starling/base";
import type { NetworkView } from "../state.ts";
import { isRelayed, relayAddress, relayDevice, relayPort } from "./addresses.ts";
import { type Hearing, isLost, listen, type Patience } from "./hearing.ts";
import { newKeyPair } from "./key-pair.ts";
import { isAlive, planTunnel, removeArguments, setArguments, type TunnelState } from "./plan-tunnel.ts";
import type { TunnelPeer } from "./tunnels.ts";
import { chooseRelay, nextWay, relayedFor, relayKeepaliveSeconds, relayPeers } from "./ways.ts";
import type { DeviceKey, WireGuard } from "./wireguard.ts";

/** A manager that was not heard for this long relays nothing; both sides send each `relayKeepaliveSeconds`. */
const managerSilenceMs: Millis = 5 * relayKeepaliveSeconds * 1_000;
/** For so long after a node turned out not to be reached its way is looked at often. */
const settlingMs: Millis = 60_000;
const defaultPatience: Patience = { firstMs: 7_000, dueMs: 15_000 };

/** What the host needs for relayed packets beside the device itself. */
export interface RelayPaths {
  readonly device: string;
  readonly address: string;
  /** Addresses of other nodes' relay devices. */
  readonly addresses: readonly string[];
  /** Whether this host passes on others' packets. */
  readonly forwards: boolean;
}

/** How packets get to a node now; `manager` in between. */
export type Way =
  | { readonly t: "none"; readonly reason: string }
  | { readonly t: "direct" }
  | { readonly t: "relay"; readonly manager: string };

export interface RelayingOptions {
  readonly nodeId: string;
  readonly clock: Clock;
  readonly log: Logger;
  readonly wireguard: WireGuard;
  readonly patience?: Patience;
}

/** What is to be looked at: nodes with which this host exchanges encrypted packets, and its tunnels as they are. */
export interface Observed {
  readonly view: NetworkView;
  readonly nodes: ReadonlySet<string>;
  /** By device. */
  readonly states: ReadonlyMap<string, TunnelState>;
}

/**
 * Relays: which nodes this host doesn't reach, and its relay device, by which packets for those go through a manager. The device is
 * WireGuard's, too, with a key of its own: so the manager passes on packets between nodes that proved who they are, in the kernel
 * where that has WireGuard, without this process. What it passes on is encrypted from node to node already. There is a device only
 * while this node needs a relay, or is a manager and some node does.
 */
export class Relaying {
  readonly #options: RelayingOptions;
  readonly #device: string;
  readonly #patience: Patience;
  #key: (DeviceKey & { readonly publicKey: string }) | undefined;
  /** By device and public key. */
  #hearings = new Map<string, Hearing>();
  /** Since when packets for nodes are to be relayed, by node. Changed by `look`. */
  #ways = new Map<string, Millis>();
  #choices = new Map<string, string | undefined>();
  #reached: readonly string[] = [];
  #paths: RelayPaths | undefined;
  #problem: string | undefined;

  constructor(options: RelayingOptions) {
    this.#options = options;
    this.#device = relayDevice(options.nodeId);
    this.#patience = options.patience ?? defaultPatience;
  }

  /** What managers are to be told; undefined: nothing. */
  get label(): NetworkRelay | undefined {
    if (this.#key === undefined) return undefined;
    const { publicKey, port } = this.#key;
    return { key: { publicKey, port }, wanted: this.#ways.size > 0, reached: this.#reached };
  }

  get paths(): RelayPaths | undefined {
    return this.#paths;
  }

  /** Relay addresses of nodes whose packets go there, by node. */
  addresses(view: NetworkView): ReadonlyMap<string, string> {
    const found = new Map<string, string>();
    for (const [nodeId, manager] of this.#choices) {
      const key = view.nodes.get(nodeId)?.relay?.key;
      if (manager !== undefined && key !== undefined) found.set(nodeId, relayAddress(key.publicKey));
    }
    return found;
  }

  /** Whether ways are likely to change soon. */
  get settling(): boolean {
    const now = this.#options.clock.now();
    return (
      [...this.#ways.values()].some((since) => now - since < settlingMs) ||
      [...this.#hearings.values()].some(({ heard, since }) => heard === undefined && now - since < settlingMs)
    );
  }

  /** Finds the device that a former process left. */
  async recover(): Promise<void> {
    const state = await this.#options.wireguard.show(this.#device);
    if (state === undefined) return;
    if (state.privateKey === "(none)") await this.#options.wireguard.remove(this.#device);
    else this.#key = { ...state, since: state.since ?? this.#options.clock.now() };
  }

  /** Takes in what devices tell, and brings the relay device to what follows. What hinders it is told by `way`. */
  async bring(observed: Observed): Promise<void> {
    const { view } = observed;
    try {
      const state = this.#key === undefined ? undefined : await this.#options.wireguard.show(this.#device);
      this.#look(observed, state);
      this.#choose(view);
      const wanted = this.#ways.size > 0 || relayedFor(view, this.#options.nodeId).length > 0;
      if (wanted) await this.#bringDevice(view, state);
      else this.#paths = undefined;
      this.#setProblem(undefined);
    } catch (error) {
      this.#setProblem(error instanceof Error ? error.message : String(error));
    }
  }

  /** Removes the device when it is needed no more; nothing may use `paths` as they were. */
  async tidy(): Promise<void> {
    if (this.#paths !== undefined || this.#key === undefined || this.#problem !== undefined) return;
    await this.#options.wireguard.remove(this.#device);
    this.#key = undefined;
    this.#reached = [];
  }

  /** What of the relay device is not as it should be, each a sentence. */
  async differences(view: NetworkView): Promise<readonly string[]> {
    if (this.#paths === undefined) return [];
    const state = await this.#options.wireguard.show(this.#device);
    if (state === undefined) return [`${this.#device} is missing`];
    const { set, remove } = planTunnel(this.#peers(view), state.peers, this.#seconds());
    return [
      ...[...set].map(([key, { nodeId }]) => `peer ${key} (node ${nodeId}) of ${this.#device} is missing, or differs`),
      ...remove.map((key) => `peer ${key} of ${this.#device} should not be there`),
    ];
  }

  /** How packets get to the node, by the last look. `devices` are those that may carry them. */
  way(view: NetworkView, nodeId: string, devices: readonly string[]): Way {
    const now = this.#options.clock.now();
    const heard = this.#hearingsOf(view, nodeId, devices).some(
      (hearing) => hearing.heard !== undefined && !isLost(hearing, now, this.#patience),
    );
    const manager = this.#choices.get(nodeId);
    if (heard && manager !== undefined) return { t: "relay", manager };
    if (heard && !this.#ways.has(nodeId)) return { t: "direct" };
    return { t: "none", reason: this.#reason(nodeId, manager) };
  }

  #reason(nodeId: string, manager: string | undefined): string {
    const ask = `let UDP ports 51840 and 51841 through between the hosts, or ${relayPort} from both to managers, which then relay`;
    if (!this.#ways.has(nodeId)) return `it has not answered yet; unless that comes, ${ask}`;
    if (this.#problem !== undefined) return `it does not answer, and there can be no relay: ${this.#problem}`;
    if (manager !== undefined)
      return `it does not answer, and nothing comes back through the relay, node ${manager}, yet; see that its swarmd runs`;
    if (this.#reached.length === 0) return `it does not answer, and no manager that could relay does: ${ask}`;
    return `it does not answer, and there is no manager that both reach: ${ask}`;
  }

  #look({ view, nodes, states }: Observed, own: TunnelState | undefined): void {
    const now = this.#options.clock.now();
    const before = this.#hearings;
    const hearings = new Map<string, Hearing>();
    const ways = new Map<string, Millis>();
    for (const nodeId of nodes) {
      const { keys = [], down = false } = view.nodes.get(nodeId) ?? {};
      const peers = [...states].flatMap(([device, state]) =>
        keys.flatMap(({ publicKey }) => {
          const peer = state.peers.get(publicKey);
          const name = `${device} ${publicKey}`;
          return peer === undefined
            ? []
            : [{ name, hearing: listen(before.get(name), peer, now), relayed: isRelayed(peer.endpoint) }];
        }),
      );
      const answersDirectly = keys.some(({ publicKey }) => isAlive(own?.peers.get(publicKey), this.#seconds()));
      const way = nextWay(this.#ways.get(nodeId), { down, peers, answersDirectly }, now, this.#patience);
      if (way !== undefined) ways.set(nodeId, way);
      // By another way, all begins anew.
      if ((way === undefined) === this.#ways.has(nodeId)) this.#options.log.info(wordsFor(way), { "peer.id": nodeId });
      else for (const { name, hearing } of peers) hearings.set(name, hearing);
    }
    for (const [publicKey, peer] of own?.peers ?? []) {
      const name = `${this.#device} ${publicKey}`;
      hearings.set(name, listen(before.get(name), peer, now));
    }
    const isHeard = (publicKey: string) => {
      const { heard } = hearings.get(`${this.#device} ${publicKey}`) ?? {};
      return heard !== undefined && now - heard < managerSilenceMs;
    };
    const managers = [...view.nodes.values()].filter(({ id, mayRelay }) => mayRelay && id !== this.#options.nodeId);
    this.#reached = managers.flatMap(({ id, relay }) => (relay?.key && isHeard(relay.key.publicKey) ? [id] : []));
    this.#hearings = hearings;
    this.#ways = ways;
  }

  #choose(view: NetworkView): void {
    const { nodeId, log } = this.#options;
    const before = this.#choices;
    this.#choices = new Map([...this.#ways.keys()].map((id) => [id, chooseRelay(view, nodeId, id)]));
    for (const [id, manager] of this.#choices)
      if (manager !== undefined && before.get(id) !== manager)
        log.info("packets for a node are relayed", { "peer.id": id, "relay.id": manager });
  }

  async #bringDevice(view: NetworkView, found: TunnelState | undefined): Promise<void> {
    const { wireguard, log, nodeId, clock } = this.#options;
    let state = found;
    if (state === undefined) {
      this.#key ??= { ...newKeyPair(), port: relayPort, since: clock.now() };
      await wireguard.create(this.#device);
      await wireguard.setKey(this.#device, this.#key);
      log.info("relay device made", { device: this.#device, "key.public": this.#key.publicKey });
      state = await wireguard.show(this.#device);
    }
    const peers = this.#peers(view);
    const plan = planTunnel(peers, state?.peers ?? new Map(), this.#seconds());
    if (plan.remove.length > 0) await wireguard.set(this.#device, removeArguments(plan.remove));
    if (plan.set.size > 0) await wireguard.set(this.#device, setArguments(plan));
    this.#paths = {
      device: this.#device,
      address: relayAddress(this.#key!.publicKey),
      addresses: [...peers.values()].flatMap(({ addresses }) => addresses).sort(),
      forwards: relayedFor(view, nodeId).length > 0,
    };
  }

  #peers(view: NetworkView): ReadonlyMap<string, TunnelPeer> {
    return relayPeers(view, this.#options.nodeId, this.#choices);
  }

  #hearingsOf(view: NetworkView, nodeId: string, devices: readonly string[]): readonly Hearing[] {
    const keys = view.nodes.get(nodeId)?.keys ?? [];
    return devices.flatMap((device) =>
      keys.flatMap(({ publicKey }) => this.#hearings.get(`${device} ${publicKey}`) ?? []),
    );
  }

  #seconds(): number {
    return Math.floor(this.#options.clock.now() / 1_000);
  }

  #setProblem(problem: string | undefined): void {
    if (problem === this.#problem) return;
    this.#problem = problem;
    if (problem !== undefined) this.#options.log.warn("no relay can be set up", { error: problem });
  }
}

const wordsFor = (way: Millis | undefined): string =>
  way === undefined ? "node is reached directly again" : "node does not answer directly: a relay is wanted";
