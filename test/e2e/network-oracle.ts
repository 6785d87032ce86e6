import { join } from "node:path";
import { createInterface } from "node:readline";
import { type Host, type HostProcess, roleOf, type Swarm, until } from "../cluster/index.ts";
import { type ConnectingTask, connectTimeFaults } from "./connect-time-oracle.ts";
import { framesFaults } from "./frames-oracle.ts";
import { meshFaults } from "./mesh-oracle.ts";

interface StoredTask {
  readonly id: string;
  readonly serviceId: string;
  readonly nodeId: string;
  readonly desiredState: string;
  readonly status: { readonly state: string; readonly container?: { readonly pid?: number } };
  readonly networks?: readonly {
    readonly network: {
      readonly id: string;
      readonly spec: {
        readonly annotations: { readonly name: string };
        readonly ingress?: boolean;
        readonly driverConfig?: { readonly name?: string; readonly options?: Readonly<Record<string, string>> };
      };
      readonly driverState?: { readonly options?: Readonly<Record<string, string>> };
    };
    readonly addresses: readonly string[];
  }[];
}

interface StoredNode {
  readonly id: string;
  readonly status?: { readonly state?: string };
  readonly description?: {
    readonly hostname?: string;
    readonly engine?: {
      readonly labels?: Readonly<Record<string, string>>;
      readonly plugins?: readonly { readonly type?: string; readonly name?: string }[];
    };
  };
}

/** What store-reader.ts prints. */
interface Stored {
  readonly tasks: readonly StoredTask[];
  readonly services: readonly StoredService[];
  readonly nodes: readonly StoredNode[];
}

interface StoredService {
  readonly id: string;
  readonly spec: {
    readonly annotations: { readonly name: string; readonly labels?: Readonly<Record<string, string>> };
  };
  readonly endpoint?: {
    readonly virtualIps?: readonly { readonly networkId: string; readonly addr: string }[];
    readonly ports?: readonly {
      readonly publishedPort?: number;
      readonly targetPort?: number;
      readonly publishMode?: string;
      readonly protocol?: string;
    }[];
  };
}

/** A task's place on a network, as the store says. */
interface Place {
  readonly task: StoredTask;
  readonly networkId: string;
  readonly networkName: string;
  /** 0: it is no overlay network. */
  readonly vni: number;
  readonly ingress: boolean;
  /** Whether VXLAN carries it between hosts. */
  readonly tunnelled: boolean;
  /** Of the mesh, too, when the task is on an encrypted network. */
  readonly encrypted: boolean;
  readonly address: string;
  /** Undefined on networks without IPv6. */
  readonly address6: string | undefined;
  readonly serving: boolean;
}

const onNode = new Set(["ASSIGNED", "ACCEPTED", "PREPARING", "READY", "STARTING", "RUNNING"]);
const wanted = new Set([
  "NEW",
  "PENDING",
  "ASSIGNED",
  "ACCEPTED",
  "PREPARING",
  "READY",
  "STARTING",
  "RUNNING",
  "COMPLETE",
]);

/** IPv6 address in the mesh of a task or node that has this IPv4 one, in full. */
const meshAddress6 = (address: string): string =>
  `fd537461726d${"0".repeat(12)}${address
    .split(".")
    .map((part) => Number(part).toString(16).padStart(2, "0"))
    .join("")}`;

const macOf = (address: string): string =>
  `02:42:${address
    .split(".")
    .map((part) => Number(part).toString(16).padStart(2, "0"))
    .join(":")}`;

/** Pause between two questions to the store. */
const askMs = 50;

interface Agreement {
  readonly ms: number;
  readonly looks: readonly string[];
}

/**
 * Compares what the kernels of all hosts have with what the managers' store says, by the system's own tools: forwarding and
 * neighbour entries, ways past the bridges and past rules, routes of the mesh, balancers of the mesh, in each task and by eBPF, and names. Independent of the code
 * that makes these. Hosts that are off, and nodes that are not ready, are not looked at. Stage.close does this after every scenario.
 */
export class NetworkOracle {
  readonly #swarm: Swarm;
  /** What the store said of tasks and services when it was last asked, when that was, and when it was still something else. */
  #stored = "";
  #askedAt = 0;
  #changedAfter = 0;
  /** That of what the last look compared with. */
  #lookedSince = 0;
  #starting: Promise<Reader> | undefined;

  constructor(swarm: Swarm) {
    this.#swarm = swarm;
  }

  /**
   * Resolves when every host agrees with the store. `ms`: at most so long the kernels were behind after the last change of a task
   * or service, the looks' own time included; `looks`: what was seen when, at the end of each look since that change. The store is
   * asked again and again meanwhile: a look takes longer than many changes last.
   */
  async agrees(options: { readonly timeoutMs?: number } = {}): Promise<Agreement> {
    this.#askedAt = performance.now();
    this.#changedAfter = this.#askedAt;
    let faults: readonly string[] = [];
    let looks: string[] = [];
    let since = 0;
    let ended = false;
    const askOn = async () => {
      if (!ended) await this.#read();
      return ended;
    };
    void until("the store is asked no more", askOn, { timeoutMs: Number.POSITIVE_INFINITY, periodMs: askMs });
    await until(
      "kernels agree with the store",
      async () => {
        faults = await this.faults();
        if (since !== this.#lookedSince) looks = [];
        since = this.#lookedSince;
        looks.push(`${Math.round(performance.now() - since)} ms: ${faults.slice(0, 3).join("; ") || "nothing"}`);
        return faults.length === 0;
      },
      { timeoutMs: options.timeoutMs ?? 60_000, periodMs: 50 },
    )
      .catch((error: unknown) => {
        throw new Error(`${(error as Error).message}:\n${faults.slice(0, 20).join("\n")}`, { cause: error });
      })
      .finally(() => {
        ended = true;
      });
    return { ms: Math.round(performance.now() - since), looks };
  }

  /** A sentence for each difference. */
  async faults(): Promise<readonly string[]> {
    const { places, services, nodes, since } = await this.#read();
    this.#lookedSince = since;
    const keys = new Map(nodes.map((node) => [node.id, keysOf(node)]));
    const hosts = nodes.filter(isOurs).map(({ id, status, description }) => ({
      nodeId: id,
      host: this.#swarm.cluster.host(description?.hostname ?? ""),
      asked: description?.engine?.labels?.["io.starling.data-path-addr"],
      ready: status?.state === "READY",
    }));
    const underlay = new Map(hosts.map(({ nodeId, host, asked }) => [nodeId, asked ?? host.address]));
    const found = await Promise.all(
      hosts
        .filter(({ host, ready }) => host.up && ready)
        .map(({ nodeId, host }) => hostFaults(host, { nodeId, places, services, underlay, keys })),
    );
    return found.flat();
  }

  /** What a manager's store has now. Its reader is started anew when it ended, as it does with its host. */
  async #read(): Promise<Stored & { readonly places: readonly Place[]; readonly since: number }> {
    this.#starting ??= startReader(this.#swarm);
    const starting = this.#starting;
    const forget = () => {
      if (this.#starting === starting) this.#starting = undefined;
    };
    starting.catch(forget);
    const reader = await starting;
    const asked = performance.now();
    reader.child.stdin?.write("\n");
    const { value, done } = await reader.lines.next();
    if (done) {
      forget();
      throw new Error("the reader of the store has ended");
    }
    const stored = JSON.parse(value) as Stored;
    const places = stored.tasks.flatMap(placesOf);
    const said = JSON.stringify([places, stored.services]);
    if (said !== this.#stored) this.#changedAfter = this.#askedAt;
    this.#stored = said;
    this.#askedAt = asked;
    return { ...stored, places, since: this.#changedAfter };
  }
}

interface Reader extends Pick<HostProcess, "child"> {
  readonly lines: AsyncIterator<string>;
}

async function startReader(swarm: Swarm): Promise<Reader> {
  const manager = swarm.members().find((host) => roleOf(host) === "manager" && host.up);
  if (manager === undefined) throw new Error("no manager host is up");
  const { child } = await manager.spawn([process.execPath, join(import.meta.dirname, "store-reader.ts")]);
  child.stderr?.resume();
  return { child, lines: createInterface({ input: child.stdout! })[Symbol.asyncIterator]() };
}

/** A Docker Engine has no overlay networks of ours. */
const isOurs = ({ description }: StoredNode): boolean =>
  (description?.engine?.plugins ?? []).some(({ type, name }) => type === "Node" && name === "starling");

/** Public keys that the node tells, the one to be used first. */
const keysOf = ({ description }: StoredNode): readonly string[] =>
  [...(description?.engine?.labels?.["io.starling.network-keys"] ?? "").matchAll(/\d+\/(\S+)/g)].map(([, key]) => key!);

/** Where packets for the owner of the key go: 80 bits of it behind a prefix. In full, as `expanded`. */
const tunnelAddress = (key: string): string =>
  `fd537461726c${Buffer.from(key, "base64").subarray(0, 10).toString("hex")}`;

/** The digits of an IPv6 address; any other text as it is. */
function expanded(address: string): string {
  if (!address.includes(":")) return address;
  const [head = "", tail = ""] = address.split("::");
  const [front, back] = [head, tail].map((part) => part.split(":").filter((group) => group !== ""));
  const zeros = Array<string>(8 - front!.length - back!.length).fill("0");
  return [...front!, ...zeros, ...back!].map((group) => group.padStart(4, "0")).join("");
}

const isEncrypted = ({ network }: NonNullable<StoredTask["networks"]>[number]): boolean =>
  (network.spec.driverConfig?.options?.["encrypted"] ?? "false") !== "false";

function placesOf(task: StoredTask): readonly Place[] {
  if (!onNode.has(task.status.state) || task.nodeId === "") return [];
  const serving = task.status.state === "RUNNING" && wanted.has(task.desiredState);
  const secret = (task.networks ?? []).some(isEncrypted);
  // Hosts have some networks by themselves: tasks have no addresses there.
  const shared = (task.networks ?? []).filter(({ addresses }) => (addresses ?? []).length > 0);
  return shared.map(({ network, addresses }) => ({
    task,
    networkId: network.id,
    networkName: network.spec.annotations.name,
    vni: Number(network.driverState?.options?.["com.docker.network.driver.overlay.vxlanid_list"] ?? 0),
    ingress: network.spec.ingress === true,
    tunnelled: (network.spec.driverConfig?.name ?? "overlay") === "overlay",
    encrypted: network.spec.ingress === true ? secret : isEncrypted({ network, addresses }),
    address: addresses[0]!.split("/")[0]!,
    address6: addresses[1]?.split("/")[0],
    serving,
  }));
}

interface Store {
  readonly nodeId: string;
  readonly places: readonly Place[];
  readonly services: readonly StoredService[];
  /** Addresses of hosts by node id. */
  readonly underlay: ReadonlyMap<string, string>;
  /** Public keys by node id. */
  readonly keys: ReadonlyMap<string, readonly string[]>;
}

async function hostFaults(host: Host, store: Store): Promise<readonly string[]> {
  const { nodeId, places, services, underlay, keys } = store;
  const faults: string[] = [];
  const expectSame = (what: string, should: readonly string[], is: readonly string[]) => {
    const [left, right] = [[...new Set(should)].sort().join(" "), [...new Set(is)].sort().join(" ")];
    if (left !== right) faults.push(`${host.name}: ${what}: should be [${left}], is [${right}]`);
  };
  const [fdb, neighbours, routes, routes6, rules] = await Promise.all([
    host.mustExec(["bridge", "-j", "fdb", "show"]),
    host.mustExec(["ip", "-j", "neigh", "show", "nud", "permanent"]),
    host.mustExec(["ip", "-j", "-4", "route", "show", "proto", "83"]),
    host.mustExec(["ip", "-j", "-6", "route", "show", "proto", "83"]),
    host.mustExec(["nft", "-j", "list", "table", "inet", "starling"]),
  ]);
  type Fdb = { readonly mac: string; readonly ifname: string; readonly dst?: string };
  type Neighbour = { readonly dst: string; readonly dev: string; readonly lladdr: string };
  type Route = { readonly dst: string; readonly dev: string; readonly gateway?: string };
  const local = places.filter(({ task }) => task.nodeId === nodeId);
  const remote = places.filter(({ task }) => task.nodeId !== nodeId);
  const overlays = new Set(
    local.filter(({ ingress, tunnelled }) => !ingress && tunnelled).map(({ networkId }) => networkId),
  );
  const devices = new Map([...overlays].map((id) => [id, `sx-${id.slice(0, 12)}`]));
  const there = remote.filter(({ networkId }) => overlays.has(networkId));
  expectSame(
    "forwarding",
    there.map((p) => {
      const [key = ""] = keys.get(p.task.nodeId) ?? [];
      const to = p.encrypted ? tunnelAddress(key) : expanded(underlay.get(p.task.nodeId) ?? "");
      return `${devices.get(p.networkId)} ${macOf(p.address)} ${to}`;
    }),
    (JSON.parse(fdb) as Fdb[])
      .filter((e) => e.dst && e.ifname.startsWith("sx-"))
      .map((e) => `${e.ifname} ${e.mac} ${expanded(e.dst!)}`),
  );
  expectSame(
    "neighbours",
    there.flatMap((p) =>
      [p.address, p.address6 ?? []].flat().map((a) => `${devices.get(p.networkId)} ${a} ${macOf(p.address)}`),
    ),
    (JSON.parse(neighbours) as Neighbour[])
      .filter((e) => e.dev.startsWith("sx-"))
      .map((e) => `${e.dev} ${e.dst} ${e.lladdr}`),
  );
  const nodeRoutes = underlay.size - 1;
  const meshRoutes = (JSON.parse(routes) as Route[]).filter((r) => r.dev === "starling-mesh").map((r) => r.dst);
  const inMesh = remote.filter(({ ingress }) => ingress);
  const published = inMesh.filter(({ encrypted }) => !encrypted).map(({ address }) => address);
  const safeRoutes = (JSON.parse(routes) as Route[]).filter((r) => r.dev === "starling-safe").map((r) => r.dst);
  expectSame(
    "routes to published tasks of encrypted networks",
    inMesh.filter(({ encrypted }) => encrypted).map(({ address }) => address),
    safeRoutes,
  );
  expectSame(
    "routes to published tasks",
    published,
    meshRoutes.filter((dst) => published.includes(dst)),
  );
  if (meshRoutes.length !== published.length + nodeRoutes) {
    faults.push(
      `${host.name}: ${meshRoutes.length} routes of the mesh for ${published.length} tasks and ${nodeRoutes} nodes`,
    );
  }
  const by = (list: string, device: string) => (JSON.parse(list) as Route[]).filter((r) => r.dev === device);
  for (const device of ["starling-mesh", "starling-safe"]) {
    expectSame(
      `IPv6 routes by ${device}`,
      by(routes, device).map(({ dst }) => meshAddress6(dst)),
      by(routes6, device).map(({ dst }) => expanded(dst)),
    );
  }
  const targets = portTargets(rules);
  for (const service of services) {
    for (const port of service.endpoint?.ports ?? []) {
      if (port.publishMode === "HOST" || !port.publishedPort) continue;
      const behind = places.filter((p) => p.ingress && p.serving && p.task.serviceId === service.id);
      const found = targets.get(`${(port.protocol ?? "TCP").toLowerCase()} ${port.publishedPort}`) ?? [];
      expectSame(
        `port ${port.publishedPort}`,
        behind.flatMap(({ address }) => [address, meshAddress6(address)]),
        found.map(expanded),
      );
    }
  }
  const framed = local.flatMap(({ task, networkId, address }) => {
    const device = devices.get(networkId);
    return device === undefined ? [] : { taskId: task.id, device, mac: macOf(address) };
  });
  const ways = new Map((JSON.parse(routes) as Route[]).map(({ dst, gateway = "" }) => [dst, gateway]));
  const meshTasks = {
    far: new Map(published.map((address) => [address, ways.get(address) ?? "no way"])),
    near: local.flatMap(({ task, ingress, encrypted, address }) =>
      ingress && !encrypted && services.some((service) => service.id === task.serviceId && isPublishedByTcp(service))
        ? { taskId: task.id, address }
        : [],
    ),
  };
  const running = new Set(local.filter(({ task }) => task.status.state === "RUNNING").map(({ task }) => task));
  const further = await Promise.all([
    framesFaults(host, framed),
    meshFaults(host, meshTasks),
    tunnelFaults(host, store),
    tasksFaults(host, [...running], store),
  ]);
  return [...faults, ...further.flat()];
}

const isPublishedByTcp = ({ endpoint }: StoredService): boolean =>
  (endpoint?.ports ?? []).some(({ publishMode, protocol }) => publishMode !== "HOST" && (protocol ?? "TCP") === "TCP");

/** Peers of the host's WireGuard devices: the keys of all with whom it shares something encrypted, and no others. */
async function tunnelFaults(host: Host, { nodeId, places, keys, underlay }: Store): Promise<readonly string[]> {
  const secret = places.filter(({ encrypted }) => encrypted);
  const shared = new Set(secret.filter((p) => !p.ingress && p.task.nodeId === nodeId).map((p) => p.networkId));
  const others = new Set(secret.filter((p) => p.ingress || shared.has(p.networkId)).map((p) => p.task.nodeId));
  const isPublisher = secret.some((p) => p.ingress && p.task.nodeId === nodeId);
  if (isPublisher) for (const id of underlay.keys()) others.add(id);
  others.delete(nodeId);
  const should = [...others].flatMap((id) => (keys.get(id) ?? []).map((key) => `${key} ${tunnelAddress(key)}`));
  const devices = (await host.mustExec(["bash", "-c", "ip -o link | grep -o 'sw[01]-[^:@ ]*' || true"])).split("\n");
  const own = devices.filter((device) => device !== "");
  const wanted = shared.size > 0 || others.size > 0;
  if (wanted !== own.length > 0)
    return [`${host.name}: tunnels: ${wanted ? "one is needed" : "none is needed"}, there is [${own.join(" ")}]`];
  const found = await Promise.all(
    own.map(async (device) => {
      const rows = (await host.mustExec(["wg", "show", device, "allowed-ips"])).split("\n").filter((row) => row !== "");
      const is = rows.map((row) => {
        const [key = "", address = ""] = row.split("\t");
        return `${key} ${expanded(address.split("/")[0]!)}`;
      });
      return is.sort().join() === should.sort().join()
        ? []
        : [`${host.name}: peers of ${device}: should be [${should.join(", ")}], are [${is.join(", ")}]`];
    }),
  );
  return found.flat();
}

/** A running task, and how services are reached from it. */
interface Client {
  readonly task: StoredTask;
  readonly pid: number;
  readonly seen: readonly {
    readonly service: StoredService;
    readonly networkId: string;
    readonly virtualIp: string;
    /** Of its tasks. */
    readonly name: string;
  }[];
}

function clientOf(task: StoredTask, { places, services }: Store): readonly Client[] {
  const pid = task.status.container?.pid;
  const own = places.filter((p) => p.task === task && !p.ingress);
  const on = new Map(own.map(({ networkId, networkName }) => [networkId, networkName]));
  if (pid === undefined || on.size === 0) return [];
  const seen = services.flatMap((service) => {
    const ips = (service.endpoint?.virtualIps ?? []).filter(({ networkId }) => on.has(networkId));
    return ips.map(({ networkId, addr }) => {
      const name = `tasks.${service.spec.annotations.name}.${on.get(networkId)}`;
      return { service, networkId, virtualIp: addr.split("/")[0]!, name };
    });
  });
  return [{ task, pid, seen }];
}

/** Balancers and names in running tasks. */
async function tasksFaults(host: Host, tasks: readonly StoredTask[], store: Store): Promise<readonly string[]> {
  const clients = tasks.flatMap((task) => clientOf(task, store));
  if (clients.length === 0) return [];
  const questions = clients.map(({ pid, seen }) => ({ pid, names: seen.map(({ name }) => name) }));
  const [answers, ...rules] = await Promise.all([
    host.mustExec(["python3", join(import.meta.dirname, "resolve.py")], { input: JSON.stringify(questions) }),
    ...clients.map(({ pid }) => host.exec(["nsenter", `--net=/proc/${pid}/ns/net`, "nft", "-j", "list", "ruleset"])),
  ]);
  const resolved = JSON.parse(answers) as readonly ({ readonly names: Names; readonly cookie: string } | null)[];
  const connecting: ConnectingTask[] = [];
  const faults = clients.flatMap((client, i) => {
    const [found, { code, stdout }] = [resolved[i]!, rules[i]!];
    // It ended meanwhile: the next look shows whether the store knows.
    if (found === null || code !== 0)
      return [`${host.name}: task ${client.task.id} has no network that could be looked at`];
    connecting.push(connectingTask(client, BigInt(found.cookie), store));
    return clientFaults(host, client, { names: found.names, backends: backendsOf(stdout), places: store.places });
  });
  const here = new Set(store.places.flatMap(({ task }) => (task.nodeId === store.nodeId ? task : [])));
  const tasksHere = { tasks: connecting, others: here.size - connecting.length };
  return [...faults, ...(await connectTimeFaults(host, store.nodeId, tasksHere))];
}

function connectingTask({ task, seen }: Client, cookie: bigint, { places }: Store): ConnectingTask {
  const vniOf = new Map(places.map(({ networkId, vni }) => [networkId, vni]));
  const own = places.filter((p) => p.task === task && !p.ingress && p.vni !== 0);
  const reached = seen.flatMap(({ service, networkId, virtualIp }) => {
    const vni = vniOf.get(networkId) ?? 0;
    const tasks = servingAt(places, { service, networkId, virtualIp });
    return vni === 0 ? [] : { vni, virtualIp, tasks, isSticky: isSticky(service) };
  });
  return { id: task.id, cookie, vnis: own.map(({ vni }) => vni), reached };
}

/** Addresses of the service's tasks that take connections to the virtual IP. */
function servingAt(
  places: readonly Place[],
  { service, networkId, virtualIp }: { service: StoredService; networkId: string; virtualIp: string },
): readonly string[] {
  const serving = places.filter((p) => p.networkId === networkId && p.task.serviceId === service.id && p.serving);
  return serving.flatMap(({ address, address6 }) => (virtualIp.includes(":") ? (address6 ?? []) : address));
}

const isSticky = ({ spec }: StoredService): boolean => spec.annotations.labels?.["io.starling.balance"] === "source";

/** Addresses by name. */
type Names = Readonly<Record<string, readonly string[]>>;

function clientFaults(
  host: Host,
  { task, seen }: Client,
  found: {
    readonly names: Names;
    readonly backends: ReadonlyMap<string, readonly string[]>;
    readonly places: readonly Place[];
  },
): readonly string[] {
  const { names, backends, places } = found;
  return seen.flatMap(({ service, networkId, virtualIp, name }) => {
    const six = virtualIp.includes(":");
    const should = servingAt(places, { service, networkId, virtualIp }).toSorted().join(" ");
    const balanced = [...(backends.get(virtualIp) ?? [])].sort().join(" ");
    const named = (names[name] ?? [])
      .filter((address) => address.includes(":") === six)
      .sort()
      .join(" ");
    const where = `${host.name}: in task ${task.id}`;
    // This client's one task, any that serves.
    const isBalanced =
      balanced === should || (isSticky(service) && should.split(" ").includes(balanced) && balanced !== "");
    return [
      ...(isBalanced ? [] : [`${where}: ${virtualIp} should lead to [${should}], leads to [${balanced}]`]),
      ...(named === should ? [] : [`${where}: ${name} should be [${should}], is [${named}]`]),
    ];
  });
}

/** Where a task's tables send connections to each virtual IP: the elements that the chain of its count looks up. */
function backendsOf(listing: string): ReadonlyMap<string, readonly string[]> {
  type Element = readonly [string | { readonly concat: readonly [string, number] }, unknown];
  const { nftables } = JSON.parse(listing) as {
    nftables: readonly { readonly map?: { readonly name: string; readonly elem?: readonly Element[] } }[];
  };
  const elements = (map: string) => nftables.flatMap((item) => (item.map?.name === map ? (item.map.elem ?? []) : []));
  const found = new Map<string, string[]>();
  const drawn = new Map(
    elements("virtual").map(([virtualIp, verdict]) => [
      String(virtualIp),
      Number((verdict as { goto: { target: string } }).goto.target.replace("spread_", "")),
    ]),
  );
  for (const [key, address] of elements("backends")) {
    const [virtualIp, position] = (key as { concat: [string, number] }).concat;
    if (position < (drawn.get(virtualIp) ?? 0))
      found.set(virtualIp, [...(found.get(virtualIp) ?? []), String(address)]);
  }
  for (const [virtualIp, address] of elements("sticky")) found.set(String(virtualIp), [String(address)]);
  return found;
}

/** Addresses behind each published port (`tcp 8080`) in a listing of the host's table. */
function portTargets(listing: string): ReadonlyMap<string, readonly string[]> {
  type Tuple = { readonly concat: readonly (string | number)[] };
  const { nftables } = JSON.parse(listing) as {
    nftables: readonly {
      readonly map?: { readonly name: string; readonly elem?: readonly (readonly [Tuple, Tuple])[] };
    }[];
  };
  const targets = new Map<string, string[]>();
  for (const { map } of nftables) {
    const [, protocol] = /^(tcp|udp|sctp)_backends6?$/.exec(map?.name ?? "") ?? [];
    for (const [key, value] of protocol === undefined ? [] : (map?.elem ?? [])) {
      const port = `${protocol} ${key.concat[0]}`;
      targets.set(port, [...(targets.get(port) ?? []), String(value.concat[0])]);
    }
  }
  return targets;
}
