import type { NetworkKey, NetworkRelay } from "@starling/api";
import type { Clock, Logger, Millis, Timer } from "@starling/base";
import { NetworkView } from "../state.ts";
import { Turn } from "../turn.ts";
import { type Slot, tunnelAddress, tunnelDevice, tunnelPorts } from "./addresses.ts";
import type { Patience } from "./hearing.ts";
import { newKeyPair } from "./key-pair.ts";
import { callsFirst, planTunnel, removeArguments, setArguments, type TunnelState } from "./plan-tunnel.ts";
import { Relaying, type RelayPaths, type Way } from "./relaying.ts";
import { haveMet, type OwnKey, orderKeys, restOfKey } from "./rotation.ts";
import { desiredPeers, encryptedWith, type TunnelPaths, type TunnelPeer, tunnelPaths } from "./tunnels.ts";
import { askingPeers, relayFacts } from "./ways.ts";
import { NoEncryption, type WireGuard } from "./wireguard.ts";

const retryMs: Millis = 1_000;
/** Peers that call first are given so long to do it. */
const callMs: Millis = 250;
/** How often a new key's sessions are looked for. */
const meetingMs: Millis = 500;
/** How often it is looked whether peers answer: when nothing changed for long, and when a way is being found. */
const lookMs: Millis = 5_000;
const settlingLookMs: Millis = 1_000;
/** Default age at which a key is replaced, and for how long the old one still takes packets. */
const rotateAfterMs: Millis = 12 * 3_600_000;
const retireAfterMs: Millis = 300_000;

export interface EncryptionOptions {
  readonly nodeId: string;
  readonly clock: Clock;
  readonly log: Logger;
  readonly wireguard: WireGuard;
  /** Brings the kernel to `paths` as they are now; resolves when it has them. */
  readonly apply: () => Promise<void>;
  /** This node's public keys, or whether encryption can be had, changed. */
  readonly changed: () => void;
  readonly rotateAfterMs?: Millis;
  readonly retireAfterMs?: Millis;
  /** How long a node may be silent before packets for it are relayed; defaults: 7 s at first, 15 s once an answer is due. */
  readonly patience?: Patience;
  /** How often it is looked whether peers answer; default: each 5 s, each second while a way is being found. */
  readonly lookMs?: Millis;
}

/**
 * This node's end of encrypted networks: its keys, its WireGuard devices and their peers. There is none of it while the node
 * takes part in nothing encrypted. Peers are there before packets are sent to them and go after the last was.
 *
 * Keys live in WireGuard and in this process alone; after a restart they are read back from the devices. A key is rotated by a
 * second device, which takes over when all peers that answered the first one have a session with it.
 */
export class Encryption {
  readonly #options: EncryptionOptions;
  readonly #turn = new Turn(() => this.#work());
  #view = new NetworkView();
  #localNetworks: readonly string[] = [];
  /** This node's keys: packets leave by the first. Changed by `#work` and what it calls. */
  #keys: readonly OwnKey[] = [];
  #recovered = false;
  /** Devices of former keys, to be removed when nothing uses them any more. */
  #former: readonly OwnKey[] = [];
  #rotation: "steady" | "meeting" | "retiring" = "steady";
  /** What was brought about last, as text: while it is asked for again, devices are not looked at, unless a look is due. */
  #brought = "";
  #lookDue = false;
  #paths: TunnelPaths | undefined;
  #problem: { readonly message: string; readonly lasting: boolean } | undefined;
  #timer: Timer | undefined;
  /** Peers that are not called yet, by public key, until they are. */
  readonly #silent = new Map<string, Timer>();
  #rotationTimer: Timer | undefined;
  #lookTimer: Timer | undefined;
  readonly #relaying: Relaying;
  /** What of relaying the host's network was made for. */
  #relayPaths = "";
  #relayLabel = "";
  readonly #watches = new Map<string, () => void>();
  #closed = false;

  constructor(options: EncryptionOptions) {
    this.#options = options;
    this.#relaying = new Relaying(options);
  }

  /** How packets reach other nodes encrypted; undefined: not at all, now. */
  get paths(): TunnelPaths | undefined {
    return this.#paths;
  }

  /** What the host needs for relayed packets, its own or others'; undefined: nothing. */
  get relayPaths(): RelayPaths | undefined {
    return this.#relaying.paths;
  }

  /** This node's part in relaying, which managers are to be told. */
  get relay(): NetworkRelay | undefined {
    return this.#relaying.label;
  }

  /** How packets get to each node that has some with this one, as a look just now tells; nodes that are down left out. */
  async ways(): Promise<ReadonlyMap<string, Way>> {
    await this.mend();
    const view = this.#view;
    const nodes = encryptedWith(view, this.#options.nodeId, this.#localNetworks) ?? [];
    const devices = this.#keys.map(({ device }) => device);
    const met = [...nodes].filter((id) => {
      const node = view.nodes.get(id);
      return node !== undefined && !node.down && node.keys.length > 0;
    });
    return new Map(met.sort().map((id) => [id, this.#relaying.way(view, id, devices)]));
  }

  /** Why encryption can't be had now; `lasting`: until something is installed. */
  get problem(): { readonly message: string; readonly lasting: boolean } | undefined {
    return this.#problem;
  }

  /** Whether what a former process left has been looked at. */
  get recovered(): boolean {
    return this.#recovered;
  }

  /** Public keys that managers are to be told, the one to be used first. */
  get publicKeys(): readonly NetworkKey[] {
    return this.#keys.map(({ publicKey, port }) => ({ publicKey, port }));
  }

  /** Whether packets of this node's tasks can leave, and other nodes can be expected to know its key. */
  get ready(): boolean {
    const told = this.#view.nodes.get(this.#options.nodeId)?.keys ?? [];
    const own = this.#keys[0];
    return this.#paths !== undefined && told.some(({ publicKey }) => publicKey === own?.publicKey);
  }

  /**
   * Takes in what the managers say and which networks tasks here are on. Resolves when it is acted on; failures are told by
   * `problem` and tried again.
   */
  async update(view: NetworkView, localNetworks: readonly string[]): Promise<void> {
    this.#view = view;
    this.#localNetworks = localNetworks;
    if (this.#closed) return;
    await this.#turn.run();
  }

  /** Looks at the devices, and makes them as they should be. */
  async mend(): Promise<void> {
    if (!this.#closed) await this.#lookAgain();
  }

  /** Replaces this node's key. Resolves when the new one was made; it is used once the peers know it. */
  async rotate(): Promise<void> {
    if (this.#rotation !== "steady" || this.#keys.length !== 1) return;
    this.#rotation = "meeting";
    await this.#lookAgain();
  }

  /** What of the devices and their peers is not as it should be, each a sentence; `update` mends it. */
  async differences(): Promise<readonly string[]> {
    // What is put off, or under way, is no difference.
    await (this.#silent.size > 0 ? this.#callAll() : this.#turn.idle());
    const nodes = encryptedWith(this.#view, this.#options.nodeId, this.#localNetworks);
    const found = [...(await this.#relaying.differences(this.#view))];
    if (nodes === undefined) return found;
    const desired = this.#peersFor(this.#view, nodes).all;
    for (const { device } of this.#keys) {
      const state = await this.#options.wireguard.show(device);
      if (state === undefined) {
        found.push(`${device} is missing`);
        continue;
      }
      const { set, remove } = planTunnel(desired, state.peers, this.#now());
      for (const [key, { nodeId }] of set)
        found.push(`peer ${key} (node ${nodeId}) of ${device} is missing, or differs`);
      for (const key of remove) found.push(`peer ${key} of ${device} should not be there`);
    }
    return found;
  }

  /** Ends acting. Devices stay, and whoever serves them: packets go on. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    for (const timer of this.#silent.values()) timer.cancel();
    this.#rotationTimer?.cancel();
    this.#lookTimer?.cancel();
    for (const end of this.#watches.values()) end();
    await this.#turn.idle();
  }

  #now(): number {
    return Math.floor(this.#options.clock.now() / 1_000);
  }

  async #work(): Promise<void> {
    if (this.#closed) return;
    try {
      await this.#bring();
      this.#setProblem(undefined);
    } catch (error) {
      if (this.#closed) return;
      const message = error instanceof Error ? error.message : String(error);
      this.#brought = "";
      this.#setProblem({ message, lasting: error instanceof NoEncryption });
      this.#again(retryMs);
    }
  }

  /** Makes devices and peers as they should be, has the paths applied, then removes what nothing uses any more. */
  async #bring(): Promise<void> {
    const { nodeId, wireguard } = this.#options;
    if (!this.#recovered) await this.#recover();
    // One view for all of it: another may come meanwhile.
    const view = this.#view;
    const nodes = encryptedWith(view, nodeId, this.#localNetworks);
    const before = this.publicKeys;
    const asked = JSON.stringify([nodes && [...desiredPeers(view, nodes)], before, relayFacts(view)]);
    if (asked === this.#brought && !this.#lookDue) return;
    this.#lookDue = false;
    this.#lookTimer?.cancel();
    if (nodes === undefined) this.#drop(this.#keys);
    else if (this.#keys.length === 0) this.#keys = [await this.#newKey(0)];
    else if (this.#rotation === "meeting" && this.#keys.length === 1) await this.#addKey(this.#keys[0]!);
    const observed = new Map<string, TunnelState>();
    for (const key of this.#keys) observed.set(key.device, await this.#open(key));
    const states = [...observed.values()];
    await this.#relaying.bring({ view, nodes: nodes ?? new Set(), states: observed });
    // Packets can be sent to a relay before tunnels are told to.
    await this.#applyRelay();
    const { desired, all } = this.#peersFor(view, nodes ?? []);
    for (const [device, state] of observed) {
      const plan = planTunnel(all, state.peers, this.#now());
      for (const key of callsFirst(plan, state.peers, nodeId)) this.#callLater(key);
      if (plan.set.size > 0) await wireguard.set(device, setArguments(plan, this.#silent));
    }
    if (this.#rotation === "meeting" && this.#keys.length === 2) this.#meet(states, desired);
    if (!sameKeys(before, this.publicKeys)) this.#options.changed();
    await this.#setPaths(nodes === undefined ? undefined : tunnelPaths(view, this.#devices(), desired));
    for (const [i, { device }] of this.#keys.entries()) {
      const { remove } = planTunnel(all, states[i]?.peers ?? new Map(), this.#now());
      if (remove.length > 0) await wireguard.set(device, removeArguments(remove));
    }
    for (const { device } of this.#former) {
      this.#unwatch(device);
      await wireguard.remove(device);
    }
    this.#former = [];
    await this.#relaying.tidy();
    this.#tellRelay();
    const isSettled = this.#rotation !== "meeting" && sameKeys(before, this.publicKeys);
    this.#brought = isSettled ? asked : "";
    if (this.#rotation === "steady" && this.#keys.length > 0) this.#rotateLater(this.#keys[0]!);
    if (all.size > 0 || this.#relaying.paths !== undefined) this.#lookLater();
  }

  /** Nodes' keys, by the way that each is reached, and all that devices are to know. */
  #peersFor(view: NetworkView, nodes: Iterable<string>) {
    const list = [...nodes];
    const desired = desiredPeers(view, list, this.#relaying.addresses(view));
    // Whatever keys a node tells, those of others' tunnels stay what they are.
    return { desired, all: new Map<string, TunnelPeer>([...askingPeers(view, list), ...desired]) };
  }

  async #applyRelay(): Promise<void> {
    const paths = JSON.stringify(this.#relaying.paths) ?? "";
    if (paths === this.#relayPaths) return;
    await this.#options.apply();
    this.#relayPaths = paths;
  }

  #tellRelay(): void {
    const label = JSON.stringify(this.#relaying.label) ?? "";
    if (label === this.#relayLabel) return;
    this.#relayLabel = label;
    this.#options.changed();
  }

  #callLater(key: string): void {
    if (this.#closed) return;
    this.#silent.get(key)?.cancel();
    const call = () => {
      this.#silent.delete(key);
      void this.#lookAgain();
    };
    this.#silent.set(key, this.#options.clock.setTimer(callMs, call));
  }

  #callAll(): Promise<void> {
    for (const timer of this.#silent.values()) timer.cancel();
    this.#silent.clear();
    return this.#lookAgain();
  }

  #lookLater(): void {
    if (this.#closed) return;
    const { clock, lookMs: every = lookMs } = this.#options;
    const delayMs = this.#relaying.settling ? Math.min(every, settlingLookMs) : every;
    this.#lookTimer = clock.setTimer(delayMs, () => void this.#lookAgain());
  }

  /** Reads back the keys that a former process used. */
  async #recover(): Promise<void> {
    const { nodeId, wireguard, clock } = this.#options;
    const found: OwnKey[] = [];
    for (const slot of [0, 1] as const) {
      const device = tunnelDevice(nodeId, slot);
      const state = await wireguard.show(device);
      if (state === undefined) continue;
      const { privateKey, publicKey, port, since = clock.now() } = state;
      if (privateKey === "(none)") {
        await wireguard.remove(device);
        continue;
      }
      const key = { slot, device, privateKey, publicKey, port, since };
      if (state.since === undefined) await wireguard.setKey(device, key);
      found.push(key);
    }
    await this.#relaying.recover();
    this.#keys = orderKeys(found, this.#view.nodes.get(nodeId)?.keys ?? []);
    if (this.#keys.length === 2) this.#retire();
    this.#recovered = true;
    if (this.#keys.length > 0) this.#options.changed();
  }

  /** Begins a rotation; what hinders it leaves the present key in use. */
  async #addKey(present: OwnKey): Promise<void> {
    try {
      this.#keys = [present, await this.#newKey(present.slot === 0 ? 1 : 0)];
    } catch (error) {
      this.#rotation = "steady";
      this.#options.log.warn("encryption key not rotated", { device: present.device, error });
    }
  }

  async #newKey(slot: Slot): Promise<OwnKey> {
    const { nodeId, clock } = this.#options;
    const at = { slot, device: tunnelDevice(nodeId, slot), port: tunnelPorts[slot] };
    const key = { ...at, ...newKeyPair(), since: clock.now() };
    await this.#create(key);
    return key;
  }

  async #create(key: OwnKey): Promise<void> {
    const { wireguard, log } = this.#options;
    await wireguard.create(key.device);
    try {
      await wireguard.setKey(key.device, key);
    } catch (error) {
      await wireguard.remove(key.device);
      throw error;
    }
    log.info("encryption device made", { device: key.device, "key.public": key.publicKey });
  }

  /** The device as it is; made anew, with its key, when it ended. */
  async #open(key: OwnKey): Promise<TunnelState> {
    const { wireguard, log } = this.#options;
    let state = await wireguard.show(key.device);
    if (state === undefined) {
      log.warn("encryption device ended, made anew", { device: key.device });
      await this.#create(key);
      this.#paths = undefined;
      state = await wireguard.show(key.device);
    }
    if (state === undefined) throw new Error(`${key.device} is gone as soon as it is made`);
    if (!this.#watches.has(key.device)) {
      const onGone = () => {
        this.#unwatch(key.device);
        void this.#lookAgain();
      };
      this.#watches.set(key.device, wireguard.watch(key.device, onGone));
    }
    return state;
  }

  /** Lets the new key take over once it has a session with everyone that the old one has. */
  #meet([before, next]: readonly TunnelState[], desired: ReadonlyMap<string, TunnelPeer>): void {
    const told = this.#view.nodes.get(this.#options.nodeId)?.keys ?? [];
    const [old, fresh] = this.#keys;
    const isTold = told.some(({ publicKey }) => publicKey === fresh!.publicKey);
    if (!isTold || !haveMet({ before: before!, next: next!, desired, nowSeconds: this.#now() })) {
      this.#again(meetingMs);
      return;
    }
    this.#keys = [fresh!, old!];
    this.#retire();
  }

  /** The second key still takes what is under way, for a while. */
  #retire(): void {
    const { clock } = this.#options;
    this.#rotation = "retiring";
    this.#rotationTimer?.cancel();
    this.#rotationTimer = clock.setTimer(this.#options.retireAfterMs ?? retireAfterMs, () => {
      this.#rotationTimer = undefined;
      this.#drop(this.#keys.slice(1));
      this.#rotation = "steady";
      this.#options.changed();
      void this.#lookAgain();
    });
  }

  #rotateLater({ since }: OwnKey): void {
    const { clock, rotateAfterMs: after = rotateAfterMs } = this.#options;
    this.#rotationTimer ??= clock.setTimer(restOfKey(since, { now: clock.now(), rotateAfterMs: after }), () => {
      this.#rotationTimer = undefined;
      void this.rotate();
    });
  }

  #drop(keys: readonly OwnKey[]): void {
    if (keys.length === 0) return;
    this.#former = [...this.#former, ...keys];
    this.#keys = this.#keys.filter((key) => !keys.includes(key));
    if (this.#keys.length > 0) return;
    this.#rotation = "steady";
    this.#rotationTimer?.cancel();
    this.#rotationTimer = undefined;
  }

  #devices(): TunnelPaths["devices"] {
    return this.#keys.map(({ device, publicKey }) => ({ device, address: tunnelAddress(publicKey) }));
  }

  async #setPaths(paths: TunnelPaths | undefined): Promise<void> {
    if (samePaths(paths, this.#paths)) return;
    this.#paths = paths;
    await this.#options.apply();
  }

  #setProblem(problem: Encryption["problem"]): void {
    if (problem?.message === this.#problem?.message) return;
    this.#problem = problem;
    if (problem !== undefined) this.#options.log.error("encryption can't be set up", { error: problem.message });
    this.#options.changed();
  }

  #again(delayMs: Millis): void {
    this.#timer?.cancel();
    this.#timer = this.#options.clock.setTimer(delayMs, () => void this.#lookAgain());
  }

  #lookAgain(): Promise<void> {
    this.#lookDue = true;
    return this.#turn.run();
  }

  #unwatch(device: string): void {
    this.#watches.get(device)?.();
    this.#watches.delete(device);
  }
}

const sameKeys = (a: readonly NetworkKey[], b: readonly NetworkKey[]): boolean =>
  a.length === b.length && a.every(({ publicKey }, i) => publicKey === b[i]?.publicKey);

function samePaths(a: TunnelPaths | undefined, b: TunnelPaths | undefined): boolean {
  const text = (paths: TunnelPaths | undefined) =>
    paths && JSON.stringify([paths.devices, [...paths.nodes], paths.addresses]);
  return text(a) === text(b);
}
