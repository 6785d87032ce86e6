import {
  NetworkStateChange,
  NetworkStateChange_Action,
  NetworkStateEndpoint,
  NetworkStateMessage,
  NetworkStateMessage_Type,
  NetworkStateNetwork,
  NetworkStateNode,
  NetworkStatePort,
  NetworkStateService,
  NetworkStateService_Balance,
  NetworkStateServiceNetwork,
} from "@starling/api";
import { systemClock } from "@starling/base";
import fc from "fast-check";
import { expect, it } from "vitest";
import { type Entries, entriesOf, planEntries } from "./balancer-plan.ts";
import { type LocalTask, type NodeInputs, ownAddresses } from "./desired.ts";
import { DesiredState } from "./desired-state.ts";
import { Zone } from "./dns/zone.ts";
import type { TunnelPaths } from "./encryption/tunnels.ts";
import { isMadeElsewhere } from "./host-network.ts";
import { hostKinds, hostNetworkOf, ruleKinds, shortcutKinds } from "./ledger.ts";
import { type Mesh, meshes, portOf, routedOf } from "./names.ts";
import { type HostRules, hostTable, meshTable } from "./nft-host.ts";
import { planTable } from "./nft-table.ts";
import { taskTables } from "./nft-task.ts";
import { planAll, planChange, planRules } from "./plan-change.ts";
import { isEmptyPlan } from "./plan-host.ts";
import type { Reach } from "./reach.ts";
import { NetworkView } from "./state.ts";
import { desiredOf } from "./test-desired.ts";
import { ModelHost, ModelNft } from "./test-kernel.ts";
import { ViewHolder } from "./view-holder.ts";

const self = "node0";
const small = (max: number) => fc.nat({ max });
const maybe = (value: string) => fc.constantFrom(value, value, "");
const update = (item: Partial<NetworkStateChange>) =>
  NetworkStateChange.create({ action: NetworkStateChange_Action.UPDATE, ...item });

const networkChange = fc
  .record({
    n: small(3),
    vni: small(1),
    ingress: fc.boolean(),
    encrypted: fc.boolean(),
    dual: fc.boolean(),
    mtu: fc.constantFrom(0, 0, 1300),
  })
  .map(({ n, vni, encrypted, dual, mtu, ingress }) => {
    const subnets = [`10.${n}.0.0/16`, ...(dual ? [`fd0${n}::/64`] : [])];
    const fields = { id: `net${n}`, name: `Net${n}`, vni: 4096 + 2 * n + vni, subnets, mtu };
    return update({
      network: NetworkStateNetwork.create({
        ...fields,
        ingress: n === 0 || (n === 1 && ingress),
        encrypted: n > 1 && encrypted,
      }),
    });
  });
const nodeChange = fc
  .record({
    n: small(3),
    underlay: small(2),
    family: small(9),
    mesh: small(4),
    port: fc.constantFrom(0, 0, 0, 4790),
    host: fc.boolean(),
  })
  .map(({ n, underlay, family, mesh, port, host }) =>
    update({
      node: NetworkStateNode.create({
        id: `node${n}`,
        underlayAddress: underlay === 2 ? "" : family === 0 ? `fd99::${n}` : `192.168.0.${2 * n + underlay}`,
        meshAddress: mesh === 0 ? "" : `10.0.0.${2 * n + 1 + (mesh >> 2)}/16`,
        hostAddresses: host ? [`172.16.0.${n >> 1}`] : [],
        vxlanPort: port,
      }),
    }),
  );
const serviceChange = fc
  .record({
    n: small(3),
    networks: fc.uniqueArray(small(3), { maxLength: 3 }),
    vip: maybe("y"),
    vip6: maybe("y"),
    ports: fc.uniqueArray(small(2), { maxLength: 2 }),
    sticky: fc.boolean(),
    local: fc.boolean(),
    on: fc.constantFrom([], [], ["10.8.0.1", "fd08::1"]),
  })
  .map(({ n, networks, vip, vip6, ports, sticky, local, on }) =>
    update({
      service: NetworkStateService.create({
        ...{ id: `service${n}`, name: `Service${n}`, preferLocal: local, publishOn: on },
        balance: sticky ? NetworkStateService_Balance.SOURCE : NetworkStateService_Balance.RANDOM,
        networks: networks.map((network) =>
          NetworkStateServiceNetwork.create({
            ...{ networkId: `net${network}`, aliases: [`alias${n >> 1}`] },
            // Two services may have the same address for a moment.
            ...{ virtualIp: vip && `10.${network}.1.${n >> 1}`, virtualIp6: vip6 && `fd0${network}::1:${n}` },
          }),
        ),
        ports: ports.map((port) =>
          NetworkStatePort.create({ protocol: port & 1, publishedPort: 8080 + (port >> 1), targetPort: 80 + n }),
        ),
      }),
    }),
  );
const endpointChange = fc
  .record({
    task: small(5),
    network: small(3),
    service: small(3),
    node: small(3),
    serving: fc.boolean(),
    encrypted: fc.boolean(),
    six: fc.boolean(),
    other: fc.boolean(),
  })
  .map(({ task, network, service, node, serving, encrypted, six, other }) =>
    update({
      endpoint: NetworkStateEndpoint.create({
        ...{ networkId: `net${network}`, taskId: `task${task}`, serviceId: `service${service}`, nodeId: `node${node}` },
        // Two tasks may have the same address for a moment.
        ...{ address: `10.${network}.2.${other ? task >> 1 : task}`, address6: six ? `fd0${network}::2:${task}` : "" },
        ...{ serving, encrypted: network === 0 && encrypted, names: [`Service${service}.${task}`] },
      }),
    }),
  );
const changes = (minLength: number, maxLength: number) =>
  fc.array(
    fc
      .tuple(fc.oneof(networkChange, nodeChange, serviceChange, { arbitrary: endpointChange, weight: 4 }), small(4))
      .map(([change, remove]) => (remove === 0 ? { ...change, action: NetworkStateChange_Action.REMOVE } : change)),
    { minLength, maxLength },
  );

const localTask = fc
  .record({
    n: small(5),
    networks: fc.uniqueArray(small(3), { maxLength: 2 }),
    routed: small(2),
    service: small(3),
    port: small(3),
    dual: fc.boolean(),
  })
  .map(
    ({ n, networks, routed, service, port, dual }): LocalTask => ({
      ...{ taskId: `task${n}`, serviceId: `service${service}`, inMesh: routed === 1 },
      overlays: networks.map((network) => ({
        ...{
          networkId: `net${network}`,
          address: `10.${network}.2.${n}`,
          address6: dual ? `fd0${network}::2:${n}` : "",
        },
      })),
      routed: routed === 0 ? undefined : routed === 1 ? `10.0.2.${n}` : `100.64.0.${n + 2}`,
      hostPorts:
        port === 3 ? [] : [{ protocol: port & 1 ? "udp" : "tcp", published: 8080 + (port >> 1), target: 9, on: [] }],
    }),
  );

const tunnels: readonly (TunnelPaths | undefined)[] = [
  undefined,
  { devices: [], nodes: new Map(), addresses: [] },
  {
    devices: [{ device: "sw0-a", address: "fd53::1" }],
    nodes: new Map([["node1", "fd53::2"]]),
    addresses: ["fd53::2"],
  },
  {
    devices: [{ device: "sw0-a", address: "fd53::1" }],
    nodes: new Map([1, 2, 3].map((n) => [`node${n}`, `fd53::${n + 1}`])),
    addresses: ["fd53::2", "fd53::3", "fd53::4"],
  },
];

const relay = { device: "sw2-a", address: "fd54::1", addresses: ["fd54::2"], forwards: true };

type Step =
  | { readonly kind: "message"; readonly complete: boolean; readonly changes: readonly NetworkStateChange[] }
  | { readonly kind: "attach"; readonly task: LocalTask; readonly devices: boolean }
  | { readonly kind: "detach"; readonly n: number }
  | { readonly kind: "leave"; readonly n: number }
  | { readonly kind: "return"; readonly n: number }
  | { readonly kind: "tunnels"; readonly n: number }
  | { readonly kind: "look"; readonly mtu: number; readonly found: number }
  | { readonly kind: "apply"; readonly forget: boolean };

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 10, arbitrary: changes(1, 4).map((list): Step => ({ kind: "message", complete: false, changes: list })) },
  { weight: 1, arbitrary: changes(5, 25).map((list): Step => ({ kind: "message", complete: true, changes: list })) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("attach" as const), task: localTask, devices: fc.boolean() }) },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constantFrom("detach" as const, "leave" as const, "return" as const),
      n: small(5),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("tunnels" as const), n: small(3) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("look" as const),
      mtu: fc.constantFrom(1500, 1500, 9000),
      found: small(3),
    }),
  },
  { weight: 8, arbitrary: fc.record({ kind: fc.constant("apply" as const), forget: small(9).map((n) => n === 0) }) },
);

/** A node whose network changes bit by bit, and the kernel that it is applied to. */
class Node {
  readonly holder = new ViewHolder(systemClock);
  readonly leaving = new Set<string>();
  readonly dead = new Set<NetworkStateEndpoint>();
  readonly desired: DesiredState;
  readonly host = new ModelHost();
  readonly rules = new ModelNft();
  #known = false;
  #loaded: HostRules | undefined;
  readonly #meshes = new Set<Mesh>();
  /** The maps of connect time; undefined: it is not in use. */
  maps: Entries | undefined;
  readonly cookies = new Map<string, bigint>();
  #cookie = 0n;
  readonly #tasks = new Map<string, { nft: ModelNft; loaded: { reach: Reach; version: number } | undefined }>();
  readonly zone: Zone;

  constructor(ipv6: boolean) {
    const { view } = this.holder;
    this.desired = new DesiredState({ nodeId: self, ipv6, view, leaving: this.leaving });
    this.holder.onDead = (endpoint, isDead) => {
      this.dead[isDead ? "add" : "delete"](endpoint);
      this.desired.setDead(endpoint, isDead);
    };
    this.zone = new Zone(view, this.leaving);
  }

  take(step: Step): void {
    const { desired, leaving, holder } = this;
    if (step.kind === "message") {
      const { COMPLETE, INCREMENTAL } = NetworkStateMessage_Type;
      const message = NetworkStateMessage.create({
        type: step.complete ? COMPLETE : INCREMENTAL,
        changes: step.changes,
      });
      desired.receive(message, () => void holder.receive(message));
    } else if (step.kind === "attach") {
      const { taskId } = step.task;
      this.#detach(taskId);
      desired.setTask(step.task);
      this.#tasks.set(taskId, { nft: new ModelNft(), loaded: undefined });
      this.cookies.set(taskId, ++this.#cookie);
      desired.setCookie(taskId, this.#cookie);
      if (!step.devices) return;
      const mine = [routedOf(taskId), ...step.task.overlays.map((_, position) => portOf(taskId, position))];
      for (const [name, link] of desired.ledger.all(["links"]).links)
        if (mine.includes(name)) this.host.links.set(name, link);
      desired.devicesMade(taskId);
      this.#reach(step.task);
    } else if (step.kind === "detach") this.#detach(`task${step.n}`);
    else if (step.kind === "leave") desired.leaves(`task${step.n}`, () => leaving.add(`task${step.n}`));
    else if (step.kind === "return") desired.leaves(`task${step.n}`, () => leaving.delete(`task${step.n}`));
    else if (step.kind === "tunnels") {
      desired.setTunnels(tunnels[step.n], step.n > 2 ? relay : undefined);
      for (const [name, link] of this.host.links) if (link.kind === "tunnel") this.host.deleteLink(name);
      for (const [name, link] of desired.ledger.all(["links"]).links)
        if (link.kind === "tunnel") this.host.links.set(name, link);
      this.#known = false;
    } else if (step.kind === "look") {
      const found = Array.from({ length: step.found }, (_, n) => ({
        device: routedOf(`task${n}`),
        address: `10.0.2.${n}`,
      }));
      desired.observed(step.mtu, found);
    } else this.#apply(step.forget);
  }

  #detach(taskId: string): void {
    this.desired.removeTask(taskId);
    this.#tasks.delete(taskId);
    this.cookies.delete(taskId);
    const names = [routedOf(taskId), ...Array.from({ length: 4 }, (_, position) => portOf(taskId, position))];
    for (const name of names) this.host.deleteLink(name);
  }

  /** Brings the kernel to what is wanted, by what changed alone where that is known. */
  #apply(forget: boolean): void {
    const { ledger } = this.desired;
    if (forget) {
      this.#known = false;
      this.#loaded = undefined;
      for (const task of this.#tasks.values()) task.loaded = undefined;
    }
    const part = this.#known ? planChange(ledger, new Map(this.host.links)) : undefined;
    const plan = part ?? planAll(ledger, this.host.network);
    const { links } = ledger.all(["links"]);
    if (part === undefined) ledger.take(hostKinds);
    this.#known = true;
    this.host.carryOut(plan, links);
    const there = meshes.filter(({ device }) => links.has(device));
    const all = this.desired.rulesOf(ledger.all(ruleKinds));
    const script = planRules(
      { loaded: this.#loaded, loadedMeshes: this.#meshes },
      { all, meshes: there, changes: ledger.take(ruleKinds) },
    );
    this.rules.load(script);
    this.#loaded = { ...all, items: ledger.all([]) as HostRules["items"] };
    this.#meshes.clear();
    for (const mesh of there) this.#meshes.add(mesh);
    this.#balance(forget);
    for (const reach of this.desired.reaches) reach.take();
    for (const { task } of this.tasks) this.#reach(task);
  }

  /** Brings the maps of connect time up to date; with `again` as one that opens anew, or fails. */
  #balance(again: boolean): void {
    if (again && this.maps !== undefined) {
      this.desired.dropBalances();
      this.maps = undefined;
      return;
    }
    const { balances } = this.desired;
    const { before, after } = balances.take();
    const whole = this.maps === undefined;
    const maps = this.maps ?? entriesOf([]);
    const mutable = maps as unknown as Record<string, Map<string, string>>;
    for (const { map, key, value } of planEntries(whole ? maps : before, whole ? balances.entries : after)) {
      if (value === undefined) mutable[map]!.delete(key);
      else mutable[map]!.set(key, value);
    }
    this.maps = maps;
  }

  /** Brings the task's tables up to date. */
  #reach(task: LocalTask): void {
    const { nft, loaded } = this.#tasks.get(task.taskId)!;
    const reach = this.desired.reachOf(task);
    const update = reach.since(loaded?.reach === reach ? loaded.version : undefined);
    const tables = (which: Parameters<typeof taskTables>[0]) => taskTables(which, tableTask(task));
    const before = update.kind === "part" ? tables(update.before) : [];
    const next = update.kind === "none" ? [] : tables(update.kind === "part" ? update.after : update.reachable);
    nft.load(next.map((table, position) => planTable(before[position], table)).join(""));
    this.#tasks.get(task.taskId)!.loaded = { reach, version: reach.version };
  }

  get tasks() {
    return this.desired.inputs.tasks.map((task) => ({ taskId: task.taskId, task, ...this.#tasks.get(task.taskId)! }));
  }
}

const tableTask = (task: LocalTask) => ({ nameServer: { udp: 1, tcp: 2 }, own: ownAddresses(task) });

const backwards = <T>(items: Iterable<T>): readonly T[] => [...items].reverse();

/** The same from scratch, told in another order. */
function anew(node: Node): { readonly inputs: NodeInputs; readonly desired: DesiredState } {
  const { view, tasks, ...rest } = node.desired.inputs;
  const { networks, nodes, services, endpoints } = view;
  const told = NetworkView.of({
    networks: backwards(networks.values()),
    nodes: backwards(nodes.values()),
    services: backwards(services.values()),
    endpoints: backwards(endpoints.values()),
  });
  const inputs = { ...rest, view: told, tasks: backwards(tasks) };
  const desired = desiredOf(inputs);
  for (const endpoint of node.dead) desired.setDead(endpoint, true);
  for (const [taskId, cookie] of node.cookies) desired.setCookie(taskId, cookie);
  return { inputs, desired };
}

const sorted = (map: ReadonlyMap<string, unknown>) => [...map].sort(([a], [b]) => (a < b ? -1 : 1));

function check(node: Node): void {
  const { inputs, desired } = anew(node);
  const kinds = [...hostKinds, ...ruleKinds, ...shortcutKinds];
  const [had, wanted] = [node.desired.ledger.all(kinds), desired.ledger.all(kinds)];
  for (const kind of kinds) expect([kind, sorted(had[kind])]).toEqual([kind, sorted(wanted[kind])]);
  const list = (tables: Parameters<typeof planTable>[1][]) => {
    const nft = new ModelNft();
    for (const table of tables) nft.load(planTable(undefined, table));
    return nft.listing;
  };
  if (node.maps !== undefined) expect(node.desired.balances.entries).toEqual(desired.balances.entries);
  for (const { task } of node.tasks) {
    const tables = [node.desired, desired].map((one) =>
      list([...taskTables(one.reachOf(task).reachable, tableTask(task))]),
    );
    expect(tables[0]).toEqual(tables[1]);
  }
  const zone = new Zone(inputs.view, inputs.leaving);
  const networks = ["net0", "net1", "net2", "net3"];
  for (const name of [
    "service0",
    "SERVICE1.net1",
    "tasks.service2",
    "tasks.alias0.net2",
    "service1.3",
    "alias1.",
    "none",
  ])
    for (const id of networks)
      expect(node.zone.lookup([id], name)?.toSorted()).toEqual(zone.lookup([id], name)?.toSorted());
}

/** After `apply`: the kernel has what is wanted from scratch, and no more. */
function checkKernel(node: Node): void {
  const { desired } = anew(node);
  const { network } = node.host;
  expect(planAll(desired.ledger, network)).toSatisfy(isEmptyPlan);
  const wanted = hostNetworkOf(desired.ledger.all(hostKinds));
  for (const [key, { device }] of wanted.routes)
    if (device === undefined || !isMadeElsewhere(wanted.links.get(device)) || network.links.has(device))
      expect(network.routes.get(key)).toEqual(wanted.routes.get(key));
  const rules = desired.rulesOf(desired.ledger.all(ruleKinds));
  const fresh = new ModelNft();
  fresh.load(planTable(undefined, hostTable(rules)));
  const listing = (nft: ModelNft) =>
    (nft.listing as readonly (readonly [string, unknown])[]).filter(([name]) => name === "inet starling");
  expect(listing(node.rules)).toEqual(listing(fresh));
  for (const mesh of meshes.filter(({ device }) => wanted.links.has(device))) {
    const table = meshTable(mesh, rules.items.meshPeers.keys());
    const alone = new ModelNft();
    alone.load(planTable(undefined, table));
    const there = (node.rules.listing as readonly (readonly [string, unknown])[]).filter(
      ([name]) => name === table.name,
    );
    expect(there).toEqual(alone.listing);
  }
  if (node.maps !== undefined) expect(node.maps).toEqual(desired.balances.entries);
  for (const { task, nft } of node.tasks) {
    const whole = new ModelNft();
    for (const table of taskTables(desired.reachOf(task).reachable, tableTask(task)))
      whole.load(planTable(undefined, table));
    expect(nft.listing).toEqual(whole.listing);
  }
}

it("what is wanted after any changes is what is wanted from scratch, and plans for what changed bring the kernel there", () => {
  fc.assert(
    fc.property(
      changes(15, 40),
      fc.array(step, { minLength: 5, maxLength: 40 }),
      fc.boolean(),
      (first, steps, ipv6) => {
        const node = new Node(ipv6);
        node.take({ kind: "message", complete: true, changes: first });
        for (const each of steps) {
          node.take(each);
          check(node);
          if (each.kind === "apply") checkKernel(node);
        }
        node.take({ kind: "apply", forget: false });
        checkKernel(node);
      },
    ),
    { seed: 20_261_122, numRuns: 150 },
  );
});

it("a network's number and what is on it may change at once", () => {
  const node = new Node(true);
  const network = (vni: number) =>
    update({ network: NetworkStateNetwork.create({ id: "net2", name: "Net2", vni, subnets: ["10.2.0.0/16"] }) });
  const networks = [NetworkStateServiceNetwork.create({ networkId: "net2", virtualIp: "10.2.1.0" })];
  const endpoint = (n: number, serving: boolean) => {
    const place = { networkId: "net2", taskId: `task${n}`, serviceId: "service0", nodeId: "node1" };
    return update({ endpoint: NetworkStateEndpoint.create({ ...place, address: `10.2.2.${n}`, serving }) });
  };
  const service = update({ service: NetworkStateService.create({ id: "service0", name: "Service0", networks }) });
  const told = (...list: NetworkStateChange[]) =>
    node.take({ kind: "message", complete: list.length > 3, changes: list });
  told(network(4100), service, endpoint(1, true), endpoint(2, true));
  const place = { networkId: "net2", address: "10.2.2.9", address6: "" };
  const task = { taskId: "task9", serviceId: "service9", inMesh: false, routed: undefined, hostPorts: [] };
  node.take({ kind: "attach", devices: true, task: { ...task, overlays: [place] } });
  node.take({ kind: "apply", forget: false });
  for (const messages of [
    [network(4101), endpoint(1, false)],
    [endpoint(1, true), endpoint(2, false)],
    [endpoint(1, false), network(4102)],
  ]) {
    told(...messages);
    check(node);
    node.take({ kind: "apply", forget: false });
    checkKernel(node);
  }
  expect(node.maps?.services.size).toBe(0);
});
