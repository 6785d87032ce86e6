/** Pure: no clock, no I/O, no randomness. */
import { type NetworkStateEndpoint, type NetworkStateMessage, NetworkStateMessage_Type } from "@starling/api";
import { Balances } from "./balances.ts";
import {
  type LocalTask,
  type NodeInputs,
  ownAddresses,
  type RecoveredTask,
  usedNetworks,
  virtualServicesOf,
  vxlanPortOf,
} from "./desired.ts";
import type { RelayPaths } from "./encryption/relaying.ts";
import type { TunnelPaths } from "./encryption/tunnels.ts";
import {
  type Overlay,
  overlayOf,
  putBase,
  putEndpoint,
  putNode,
  putOverlay,
  putRecovered,
  putService,
  putTask,
} from "./host-sources.ts";
import { type Items, isEntry, Ledger, type RuleKind } from "./ledger.ts";
import { meshSubnets } from "./mesh-paths.ts";
import { routedOf } from "./names.ts";
import type { HostRules } from "./nft-host.ts";
import { Reach } from "./reach.ts";
import { addressesOf, endpointKey, type NetworkView } from "./state.ts";

/** Sources, by id, that are to be heard anew. */
interface Touched {
  readonly nodes: Set<string>;
  readonly services: Set<string>;
  /** By `endpointKey`. */
  readonly endpoints: Set<string>;
  readonly tasks: Set<string>;
  readonly networks: Set<string>;
}

const nothing = (): Touched => ({
  ...{ nodes: new Set(), services: new Set(), endpoints: new Set(), tasks: new Set(), networks: new Set() },
});

/**
 * What this host's network should be now, kept so that a change costs what it changes. Sources (nodes, endpoints, services, tasks
 * here …) claim what they need. Before anything changes, the claims of all that look at it are taken back; after, they are made
 * anew. What concerns all of the node (its own record, tunnels, MTU) has everything made anew.
 */
export class DesiredState {
  readonly #nodeId: string;
  readonly #ipv6: boolean;
  readonly #view: NetworkView;
  readonly #leaving: ReadonlySet<string>;
  readonly #tasks = new Map<string, LocalTask>();
  readonly #overlays = new Map<string, Overlay>();
  readonly #reaches = new Map<string, Reach>();
  #balances: Balances | undefined;
  /** What names the network namespaces of tasks here, by their ids. */
  readonly #cookies = new Map<string, bigint>();
  /** Endpoints whose task is gone. */
  readonly #dead = new Set<NetworkStateEndpoint>();
  readonly ledger = new Ledger();
  #underlayMtu = 1500;
  #found: readonly RecoveredTask[] = [];
  #tunnels: TunnelPaths | undefined;
  #relay: RelayPaths | undefined;
  #inputs: NodeInputs | undefined;
  #setting = "";
  #version = 0;

  /** `leaving`: tasks here that are about to stop. It and `view` are changed within `change` and `receive` alone. */
  constructor(options: {
    readonly nodeId: string;
    readonly ipv6: boolean;
    readonly view: NetworkView;
    readonly leaving: ReadonlySet<string>;
  }) {
    this.#nodeId = options.nodeId;
    this.#ipv6 = options.ipv6;
    this.#view = options.view;
    this.#leaving = options.leaving;
    this.#rebuild();
  }

  /** Counts changes. */
  get version(): number {
    return this.#version;
  }

  get inputs(): NodeInputs {
    this.#inputs ??= {
      nodeId: this.#nodeId,
      view: this.#view,
      tasks: [...this.#tasks.values()],
      leaving: this.#leaving,
      underlayMtu: this.#underlayMtu,
      recovered: this.#recovered(),
      tunnels: this.#tunnels,
      relay: this.#relay,
      ipv6: this.#ipv6,
    };
    return this.#inputs;
  }

  /** Of `items`, all or a part, with what is the node's alone. */
  rulesOf(items: Items<RuleKind>): HostRules {
    const self = this.#view.nodes.get(this.#nodeId);
    return {
      items,
      mesh: self?.meshAddress || undefined,
      vxlanPort: vxlanPortOf(self),
      tunnels: this.#tunnels?.devices.map(({ device }) => device) ?? [],
      relay: this.#relay,
      secrets: this.ledger.all(["secret"]).secret.size > 0,
      ipv6: this.#ipv6,
      ingressSubnets: meshSubnets(this.#view.ingress?.subnets ?? []),
    };
  }

  /** Takes in a message of the managers'; `apply` has the view change by it. */
  receive(message: NetworkStateMessage, apply: () => void): void {
    if (message.type === NetworkStateMessage_Type.COMPLETE) {
      apply();
      this.#rebuild();
      return;
    }
    const touched = nothing();
    for (const { network, node, service, endpoint } of message.changes) {
      if (network) this.#touchNetwork(touched, network.id);
      if (node) {
        touched.nodes.add(node.id);
        for (const other of this.#view.endpointsAt(node.id)) touched.endpoints.add(endpointKey(other));
      }
      if (service) this.#touchService(touched, service.id);
      if (!endpoint) continue;
      const old = this.#view.endpoints.get(endpointKey(endpoint));
      for (const one of old === undefined ? [endpoint] : [old, endpoint]) this.#touchEndpoint(touched, one);
    }
    this.#change(touched, apply);
  }

  /** `change` has the task be among those that leave, or not any more. */
  leaves(taskId: string, change: () => void): void {
    const touched = nothing();
    touched.tasks.add(taskId);
    for (const { serviceId } of this.#view.endpointsOf(taskId)) touched.services.add(serviceId);
    this.#change(touched, change);
  }

  setTask(task: LocalTask): void {
    this.#changeTask(task.taskId, () => this.#tasks.set(task.taskId, task));
  }

  /** The task's devices were made: nothing hangs on them, whatever did on former ones of their names. */
  devicesMade(taskId: string): void {
    const task = this.#tasks.get(taskId);
    if (task === undefined) return;
    putTask({ ...this.inputs, overlays: this.#overlays }, task, (kind, key) => {
      if (isEntry(kind)) this.ledger.giveBack(kind, key);
    });
  }

  removeTask(taskId: string): void {
    if (!this.#tasks.has(taskId)) return;
    this.#changeTask(taskId, () => this.#tasks.delete(taskId));
    const cookie = this.#cookies.get(taskId);
    this.#cookies.delete(taskId);
    if (cookie !== undefined) this.#balances?.removeClient(cookie);
    const used = new Set([...this.#tasks.values()].map(reachKey));
    for (const key of this.#reaches.keys()) if (!used.has(key)) this.#reaches.delete(key);
  }

  /** What a look at the kernel shows: the MTU of the underlay, and tasks that run. */
  observed(underlayMtu: number, found: readonly RecoveredTask[]): void {
    if (underlayMtu === this.#underlayMtu && sameTasks(found, this.#found)) return;
    this.#change(nothing(), () => {
      this.#underlayMtu = underlayMtu;
      this.#found = found;
    });
  }

  setTunnels(tunnels: TunnelPaths | undefined, relay?: RelayPaths): void {
    if (tunnels === this.#tunnels && JSON.stringify(relay) === JSON.stringify(this.#relay)) return;
    this.#tunnels = tunnels;
    this.#relay = relay;
    this.#rebuild();
  }

  setDead(endpoint: NetworkStateEndpoint, isDead: boolean): void {
    if (this.#dead.has(endpoint) === isDead) return;
    this.#dead[isDead ? "add" : "delete"](endpoint);
    for (const reach of this.#reaches.values()) {
      if (reach.networks.has(endpoint.networkId)) reach.putDead(isDead ? "claim" : "withdraw", addressesOf(endpoint));
    }
  }

  /** What lies on the task's networks. */
  reachOf(task: LocalTask): Reach {
    const key = reachKey(task);
    const known = this.#reaches.get(key);
    if (known !== undefined) return known;
    const reach = new Reach(new Set(task.overlays.map(({ networkId }) => networkId)));
    this.#reaches.set(key, reach);
    for (const service of this.#view.services.values())
      reach.put("claim", virtualServicesOf(this.inputs, service, reach.networks));
    for (const endpoint of this.#dead)
      if (reach.networks.has(endpoint.networkId)) reach.putDead("claim", addressesOf(endpoint));
    return reach;
  }

  get reaches(): Iterable<Reach> {
    return this.#reaches.values();
  }

  /** Has the programs of connect time know the network namespace of a task here. */
  setCookie(taskId: string, cookie: bigint): void {
    const task = this.#tasks.get(taskId);
    if (task === undefined) return;
    this.#cookies.set(taskId, cookie);
    this.#balances?.setClient({ cookie, own: ownAddresses(task) });
  }

  /** What these programs should know; kept from the first call on. */
  get balances(): Balances {
    if (this.#balances !== undefined) return this.#balances;
    this.#balances = new Balances();
    this.#balanceNetworks({ ...nothing(), networks: networksOf(this.#tasks.values()) });
    for (const [taskId, cookie] of this.#cookies) this.setCookie(taskId, cookie);
    return this.#balances;
  }

  /** They are not in use any more. */
  dropBalances(): void {
    this.#balances = undefined;
  }

  /** Tasks that were found and that nobody has attached yet. */
  #recovered(): readonly RecoveredTask[] {
    if (this.#found.length === 0) return this.#found;
    const spokenFor = new Set(Array.from(this.#tasks.keys(), routedOf));
    return this.#found.filter(({ device }) => !spokenFor.has(device));
  }

  #touchEndpoint(touched: Touched, endpoint: NetworkStateEndpoint): void {
    touched.endpoints.add(endpointKey(endpoint));
    touched.services.add(endpoint.serviceId);
    touched.tasks.add(endpoint.taskId);
    if (endpoint.networkId === this.#view.ingress?.id)
      for (const task of this.#tasks.values()) if (task.routed === endpoint.address) touched.tasks.add(task.taskId);
    if (endpoint.nodeId === this.#nodeId) touched.networks.add(endpoint.networkId);
  }

  #touchService(touched: Touched, serviceId: string): void {
    touched.services.add(serviceId);
    for (const task of this.#tasks.values()) if (task.serviceId === serviceId) touched.tasks.add(task.taskId);
  }

  #touchNetwork(touched: Touched, networkId: string): void {
    touched.networks.add(networkId);
    for (const endpoint of this.#view.endpointsOn(networkId)) touched.endpoints.add(endpointKey(endpoint));
  }

  #changeTask(taskId: string, change: () => void): void {
    const touched = nothing();
    touched.tasks.add(taskId);
    const networks = () => {
      for (const { networkId } of this.#tasks.get(taskId)?.overlays ?? []) touched.networks.add(networkId);
    };
    networks();
    this.#change(touched, () => {
      change();
      networks();
    });
  }

  #change(touched: Touched, change: () => void): void {
    this.#version++;
    this.#each(touched, "withdraw");
    this.#eachRecovered("withdraw");
    change();
    this.#inputs = undefined;
    if (this.#settingNow() !== this.#setting) {
      this.#rebuild();
      return;
    }
    this.#changeOverlays(touched);
    this.#balanceNetworks(touched);
    this.#each(touched, "claim");
    this.#eachRecovered("claim");
  }

  /** Has the devices of the networks follow; what lies on those that changed is added to `touched`. */
  #changeOverlays(touched: Touched): void {
    if (touched.networks.size === 0) return;
    const used = usedNetworks(this.inputs);
    for (const id of touched.networks) {
      const old = this.#overlays.get(id);
      const now = overlayOf(this.inputs, id, used.has(id));
      if (JSON.stringify(old) === JSON.stringify(now)) continue;
      const further = nothing();
      for (const endpoint of this.#view.endpointsOn(id)) further.endpoints.add(endpointKey(endpoint));
      for (const { taskId, overlays } of this.#tasks.values())
        if (overlays.some(({ networkId }) => networkId === id)) further.tasks.add(taskId);
      for (const kind of ["endpoints", "tasks"] as const) {
        for (const source of touched[kind]) further[kind].delete(source);
        for (const source of further[kind]) touched[kind].add(source);
      }
      this.#each(further, "withdraw");
      if (old !== undefined) putOverlay(id, old, this.ledger.withdraw);
      if (now !== undefined) putOverlay(id, now, this.ledger.claim);
      if (now === undefined) this.#overlays.delete(id);
      else this.#overlays.set(id, now);
    }
  }

  /** Has connect time look at the services of those networks, touched ones aside, that have a task here. */
  #balanceNetworks({ networks, services }: Touched): void {
    const balances = this.#balances;
    if (balances === undefined || networks.size === 0) return;
    const used = networksOf(this.#tasks.values());
    for (const id of networks) {
      const vni = used.has(id) ? (this.#view.networks.get(id)?.vni ?? 0) : 0;
      if (vni === balances.vniOf(id)) continue;
      balances.setNetwork(id, vni);
      if (vni === 0) continue;
      for (const service of this.#view.services.values())
        if (!services.has(service.id)) balances.put("claim", virtualServicesOf(this.inputs, service, new Set([id])));
    }
  }

  #each(touched: Touched, how: "claim" | "withdraw"): void {
    const put = this.ledger[how];
    const inputs = { ...this.inputs, overlays: this.#overlays };
    const { view } = inputs;
    for (const id of touched.nodes) {
      const node = view.nodes.get(id);
      if (node !== undefined) putNode(inputs, node, put);
    }
    for (const key of touched.endpoints) {
      const endpoint = view.endpoints.get(key);
      if (endpoint !== undefined) putEndpoint(inputs, endpoint, put);
    }
    for (const id of touched.services) {
      const service = view.services.get(id);
      if (service === undefined) continue;
      putService(inputs, service, put);
      for (const reach of this.#reaches.values()) reach.put(how, virtualServicesOf(inputs, service, reach.networks));
      if (this.#balances !== undefined)
        this.#balances.put(how, virtualServicesOf(inputs, service, this.#balances.networks));
    }
    for (const id of touched.tasks) {
      const task = this.#tasks.get(id);
      if (task !== undefined) putTask(inputs, task, put);
    }
  }

  #eachRecovered(how: "claim" | "withdraw"): void {
    for (const task of this.inputs.recovered) putRecovered(this.inputs, task, this.ledger[how]);
  }

  #rebuild(): void {
    this.#version++;
    this.#inputs = undefined;
    this.#setting = this.#settingNow();
    this.ledger.clear();
    for (const reach of this.#reaches.values()) reach.clearServices();
    this.#overlays.clear();
    const { inputs } = this;
    for (const id of usedNetworks(inputs)) {
      const overlay = overlayOf(inputs, id, true);
      if (overlay === undefined) continue;
      this.#overlays.set(id, overlay);
      putOverlay(id, overlay, this.ledger.claim);
    }
    putBase({ ...inputs, overlays: this.#overlays }, this.ledger.claim);
    const { nodes, services, endpoints } = this.#view;
    const keys = {
      nodes: nodes.keys(),
      services: services.keys(),
      endpoints: endpoints.keys(),
      tasks: this.#tasks.keys(),
    };
    const all = nothing();
    for (const kind of ["nodes", "services", "endpoints", "tasks"] as const)
      for (const key of keys[kind]) all[kind].add(key);
    this.#balances?.clearServices();
    this.#balanceNetworks({ ...all, networks: networksOf(this.#tasks.values()) });
    this.#each(all, "claim");
    this.#eachRecovered("claim");
  }

  /** What all sources look at, as text. */
  #settingNow(): string {
    const self = this.#view.nodes.get(this.#nodeId);
    const { ingress } = this.#view;
    const own = self && [self.underlayAddress, self.meshAddress, self.vxlanPort];
    const mesh = ingress && [
      ingress.id,
      ingress.vni,
      ingress.mtu,
      ingress.subnets,
      this.#view.hasEncrypted(ingress.id),
    ];
    return JSON.stringify([own, mesh, this.#underlayMtu]);
  }
}

const reachKey = ({ overlays }: LocalTask): string =>
  [...new Set(overlays.map(({ networkId }) => networkId))].sort().join();

const networksOf = (tasks: Iterable<LocalTask>): Set<string> =>
  new Set([...tasks].flatMap(({ overlays }) => overlays.map(({ networkId }) => networkId)));

const sameTasks = (a: readonly RecoveredTask[], b: readonly RecoveredTask[]): boolean =>
  a === b || JSON.stringify(a) === JSON.stringify(b);
