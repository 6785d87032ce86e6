import { existsSync, readFileSync } from "node:fs";
import {
  formatHostAddresses,
  formatNetworkKeys,
  formatNetworkRelay,
  hostAddressesLabel,
  NetworkFinding,
  NetworkInspection,
  type NetworkPath,
  type NetworkStateMessage,
  type NetworkStateQuestion,
  NetworkStateQuestion_Kind,
  networkKeysLabel,
  networkRelayLabel,
  type PortConfig,
  type Task,
} from "@starling/api";
import { type Clock, type Logger, type Millis, SwarmError, type Timer } from "@starling/base";
import { type ConntrackStep, rtnetlink, runSteps } from "@starling/native/net";
import { FatalTaskError, TemporaryError } from "../exec/controller.ts";
import type { NetnsRef, NetworkAttacher, NetworkFiles } from "../exec/network-attacher.ts";
import { type Attachment, needOfManagers, planAttachment, publishedHostPorts } from "./attachment.ts";
import { Auditor } from "./auditor.ts";
import type { BalancedTask } from "./balancer-plan.ts";
import { ConnectTime } from "./connect-time.ts";
import { untilIdle } from "./connections.ts";
import { describePlan, type Finding } from "./describe-plan.ts";
import {
  addressesOf,
  type LocalTask,
  type NodeInputs,
  overlayMtu,
  reachable,
  recoveredTasks,
  vxlanPortOf,
} from "./desired.ts";
import { NameServer } from "./dns/name-server.ts";
import { parseResolvConf, type ResolverConfig, renderResolvConf } from "./dns/resolv-conf.ts";
import { Upstream } from "./dns/upstream.ts";
import { EchoServer } from "./echo-server.ts";
import { Encryption, type EncryptionOptions } from "./encryption/encryption.ts";
import { judgeWays, pathOf } from "./encryption/judge-ways.ts";
import { hostWireGuard, type WireGuard } from "./encryption/wireguard.ts";
import { type FlushDue, hostFlush, joinDue, taskFlush } from "./flush.ts";
import { converse, HostApplier } from "./host-applier.ts";
import { Managers } from "./managers.ts";
import { bridgeOf, portOf, routedOf } from "./names.ts";
import { type Observation, underlayOf } from "./observe.ts";
import { idleVlans } from "./parent-device.ts";
import { checkPaths } from "./path-check.ts";
import { ingressOf } from "./state.ts";
import { InterfacesMissing, type NameServerSockets, ParentRefused, type TaskNetwork } from "./task-network.ts";
import { TaskOpener } from "./task-opener.ts";
import { Turn } from "./turn.ts";
import { ViewHolder } from "./view-holder.ts";

const retryMs = 1_000;
/** How long a task that will stop waits for other nodes to say that they send it no new connections. */
const settleMaxMs = 3_000;
export interface NodeNetworkOptions {
  readonly nodeId: string;
  readonly clock: Clock;
  readonly log: Logger;
  /** Text of the host's resolver configuration; by default /etc/resolv.conf at this moment. */
  readonly resolvConf?: string;
  /** Path of the host's network namespace; by default the process's own. */
  readonly netns?: string;
  /** Whether the host has IPv6; by default whether the kernel has. */
  readonly ipv6?: boolean;
  /** Folder of the group of cgroup v2 that all tasks' processes are below, for virtual IPs by eBPF; default: by nftables. */
  readonly cgroup?: string | undefined;
  /** Default: the host's. */
  readonly wireguard?: WireGuard;
  /** Age at which keys of encrypted networks are replaced, and how long the former one still takes packets; defaults: 12 h, 5 min. */
  readonly keys?: { readonly rotateAfterMs?: Millis; readonly retireAfterMs?: Millis };
  /** How long nodes of encrypted networks may be silent before a relay is looked for; default: Encryption's. */
  readonly reach?: Pick<EncryptionOptions, "patience" | "lookMs">;
}

interface Attached {
  readonly network: TaskNetwork;
  readonly names: NameServer;
}

/**
 * This node's part of the cluster's networks: overlay devices, the routing mesh, virtual IPs and names of its tasks. Level
 * triggered: each change works out what should be there and applies the difference. Until the managers' first COMPLETE
 * message nothing of the host is touched, and `attach` waits.
 *
 * After a restart the devices of running tasks are found again by their names and left alone; `attach` of such a task
 * takes them over and opens its name server's sockets anew.
 */
export class NodeNetwork implements NetworkAttacher {
  readonly #nodeId: string;
  readonly #netns: string | undefined;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #applier: HostApplier;
  readonly #upstream: Upstream;
  readonly #resolvers: ResolverConfig;
  readonly #opener: TaskOpener;
  readonly #ipv6: boolean;
  /** As managers are told. */
  #hostAddresses = "";
  readonly #attached = new Map<string, Attached>();
  /** Tasks whose attach is under way: their devices are wanted already. */
  readonly #attaching = new Map<string, TaskNetwork>();
  /** The last attach or detach of a task, while it is under way. */
  readonly #queues = new Map<string, Promise<unknown>>();
  /** Tasks to be detached. */
  readonly #cancelled = new Set<string>();
  readonly #state: ViewHolder;
  readonly #turn = new Turn(() => this.#apply());
  /** What the managers are told; `follow.ts` connects it. */
  readonly managers = new Managers();
  readonly #connectTime: ConnectTime;
  #flushDue: FlushDue = "all";
  #retry: Timer | undefined;
  readonly #auditor: Auditor;
  readonly #echo: EchoServer;
  readonly #encryption: Encryption;
  /** Called when `labels` are others. */
  onLabels: () => void = () => {};
  #warned = false;
  /** Counts the changes that were asked for; an audit looks at it. */
  #stirred = 0;
  #closed = false;

  constructor(options: NodeNetworkOptions) {
    this.#nodeId = options.nodeId;
    this.#clock = options.clock;
    this.#state = new ViewHolder(options.clock);
    this.#log = options.log;
    this.#netns = options.netns;
    this.#ipv6 = options.ipv6 ?? existsSync("/proc/sys/net/ipv6");
    if (!this.#ipv6) this.#log.warn("this host has no IPv6: published ports answer over IPv4 alone here");
    this.#applier = new HostApplier(options.log, options.netns);
    this.#opener = new TaskOpener({ applier: this.#applier, netns: options.netns, ipv6: this.#ipv6 });
    this.#echo = new EchoServer(options.log, options.netns);
    this.#resolvers = parseResolvConf(options.resolvConf ?? hostResolvConf());
    this.#upstream = new Upstream(this.#resolvers.nameservers, options.clock);
    this.#connectTime = new ConnectTime({ ...options, cgroup: options.cgroup });
    const audited = {
      applier: this.#applier,
      netns: options.netns,
      tasks: () => [...this.#attached.values()].map(({ network }) => network),
      settle: () => this.#turn.run(),
      mend: async () => {
        this.#connectTime.forget();
        await this.#encryption.mend();
        await this.#turn.run();
      },
      differences: async () => [
        ...describePlan(await this.#applier.differences(this.#wanted(await this.#applier.observation()))),
        ...(await this.#encryption.differences()).map((detail) => ({ subject: "encryption", detail })),
        ...(await this.#connectTime.differences(this.#balanced())).map((detail) => ({ subject: "rules", detail })),
      ],
      stirred: () => this.#stirred,
    };
    this.#auditor = new Auditor(audited, options);
    this.#encryption = new Encryption({
      ...options.keys,
      ...options.reach,
      nodeId: options.nodeId,
      clock: options.clock,
      log: options.log,
      wireguard: options.wireguard ?? hostWireGuard(options.netns),
      apply: async () => {
        this.#applier.forget();
        await this.#settle();
      },
      changed: () => {
        this.#state.wake();
        this.onLabels();
      },
    });
  }

  /** Takes in a message of the managers' stream and applies it; resolves when the kernel has it. Failures are logged and tried again. */
  async receive(message: NetworkStateMessage): Promise<void> {
    this.#flushDue = joinDue(this.#flushDue, this.#state.receive(message));
    this.managers.received(message);
    this.#warnOfLoopback();
    const encrypting = this.#encrypt();
    if (!this.#encryption.recovered) await encrypting;
    await this.#settle();
    for (const question of message.questions) void this.#answer(question);
  }

  /** The managers are of another make (a Docker Engine's) and tell nodes nothing: only what needs no other node is offered. */
  async managersAreForeign(): Promise<void> {
    if (this.#state.foreign) return;
    this.#log.warn(
      "the managers of this swarm run no swarmd: tasks have the host's network or a way out of their own, no overlay networks and no mesh",
    );
    this.#state.becomeForeign();
    await this.#settle();
  }

  /** Whether the managers are of another make; undefined until they have answered. */
  get underForeignManagers(): boolean | undefined {
    return this.#state.ready ? this.#state.foreign : undefined;
  }

  /** What managers are told of this node in its description: the host's addresses, the public keys of encrypted networks. */
  get labels(): Readonly<Record<string, string>> {
    const { publicKeys, relay } = this.#encryption;
    return {
      ...(this.#hostAddresses === "" ? {} : { [hostAddressesLabel]: this.#hostAddresses }),
      ...(publicKeys.length === 0 ? {} : { [networkKeysLabel]: formatNetworkKeys(publicKeys) }),
      ...(relay === undefined ? {} : { [networkRelayLabel]: formatNetworkRelay(relay) }),
    };
  }

  /** Whether virtual IPs are by eBPF now; not while no task is here. */
  get usesConnectTime(): boolean {
    return this.#connectTime.inUse;
  }

  /** Replaces this node's key of encrypted networks. No packet is lost by it. */
  rotateKeys(): Promise<void> {
    return this.#encryption.rotate();
  }

  attach(task: Task, netns: NetnsRef): Promise<NetworkFiles> {
    return this.#inTurn(task.id, () => this.#attach(task, netns));
  }

  async leave(taskId: string): Promise<void> {
    if (this.managers.leaving.has(taskId)) return;
    this.managers.leave(taskId);
    const own = [...this.#state.view.endpoints.values()].filter((endpoint) => endpoint.taskId === taskId);
    this.#flushDue = joinDue(this.#flushDue, own);
    this.#state.forgetNames();
    await this.#settle();
  }

  async drained(taskId: string, options: { readonly drainMs: Millis; readonly signal: AbortSignal }): Promise<void> {
    const { drainMs, signal } = options;
    await this.#state
      .until(() => this.#isDrained(taskId), { isCancelled: () => signal.aborted, timeoutMs: settleMaxMs })
      .catch(() => {
        if (!signal.aborted)
          this.#log.warn("not all nodes have confirmed that they send a task no new connections", {
            "task.id": taskId,
          });
      });
    const attached = this.#attached.get(taskId);
    if (attached === undefined || signal.aborted) return;
    await untilIdle(attached.network.netnsPath, { clock: this.#clock, drainMs, signal });
  }

  async detach(taskId: string): Promise<void> {
    // An attach that waits for the managers gives up.
    this.#cancelled.add(taskId);
    this.#state.wake();
    await this.#inTurn(taskId, async () => {
      this.#cancelled.delete(taskId);
      this.#release(taskId);
      await this.#removeDevices(taskId);
      this.managers.forget(taskId);
      await this.#settle();
      void this.#encrypt();
    });
  }

  hostPorts(task: Task): readonly PortConfig[] {
    return publishedHostPorts(task, this.#attached.get(task.id)?.network.attachment.hostPorts ?? []);
  }

  /** What of the kernel is not as it should be; mended unless told otherwise. The same is done each half minute by itself. */
  async audit(options: { readonly repair: boolean } = { repair: true }): Promise<readonly Finding[]> {
    if (!this.#state.ready || this.#closed) return [];
    return this.#auditor.audit(options.repair);
  }

  /** What of the ways to the other nodes doesn't work, each a sentence, and which ways encrypted packets take. */
  async check(): Promise<{ readonly findings: readonly Finding[]; readonly paths: readonly NetworkPath[] }> {
    const [findings, ways] = await Promise.all([this.#checkMesh(), this.#encryption.ways()]);
    const { view } = this.#state;
    return {
      findings: [...findings, ...judgeWays(ways)],
      paths: [...ways].map(([nodeId, way]) => pathOf(view, { from: this.#nodeId, to: nodeId, way })),
    };
  }

  async #checkMesh(): Promise<readonly Finding[]> {
    const { view } = this.#state;
    const ingress = ingressOf(view);
    if (ingress === undefined) return [];
    const underlay = underlayOf(await this.#applier.observation(), view.nodes.get(this.#nodeId));
    const vxlanPort = vxlanPortOf(view.nodes.get(this.#nodeId));
    const mtu = overlayMtu(ingress, underlay);
    return checkPaths({ nodeId: this.#nodeId, view, netns: this.#netns, mtu, vxlanPort });
  }

  /** Ends watching and serving names. Leaves the kernel's state as it is: containers go on. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#retry?.cancel();
    this.#auditor.close();
    await this.#encryption.close();
    await this.#turn.idle();
    for (const { network, names } of this.#attached.values()) {
      names.close();
      network.close();
    }
    this.#attached.clear();
    this.#echo.close();
    this.#connectTime.close({ detach: false });
    this.#applier.close();
  }

  async #answer(question: NetworkStateQuestion): Promise<void> {
    const { id: questionId } = question;
    try {
      const check = question.kind === NetworkStateQuestion_Kind.CHECK;
      const { findings: found, paths } = check
        ? await this.check()
        : { findings: await this.audit({ repair: question.repair }), paths: [] };
      const findings = found.map((finding) => NetworkFinding.create({ ...finding, repaired: question.repair }));
      this.managers.answer(NetworkInspection.create({ questionId, findings, paths, clockMs: this.#clock.now() }));
    } catch (error) {
      this.managers.answer(NetworkInspection.create({ questionId, error: SwarmError.from(error).message }));
    }
  }

  /** Attaching and detaching one task take turns; different tasks don't wait for each other. */
  async #inTurn<T>(taskId: string, work: () => Promise<T>): Promise<T> {
    this.#stirred++;
    const before = this.#queues.get(taskId);
    const mine = before === undefined ? work() : before.then(work, work);
    this.#queues.set(taskId, mine);
    try {
      return await mine;
    } finally {
      if (this.#queues.get(taskId) === mine) this.#queues.delete(taskId);
    }
  }

  async #attach(task: Task, netns: NetnsRef): Promise<NetworkFiles> {
    const planned = planAttachment(task);
    if ("refused" in planned) throw new FatalTaskError(planned.refused);
    await this.#state.until(() => this.#knows(planned.attachment), { isCancelled: () => this.#cancelled.has(task.id) });
    const missing = this.#state.foreign ? needOfManagers(planned.attachment) : undefined;
    if (missing !== undefined) throw new FatalTaskError(missing);
    await this.#encrypted(task.id, planned.attachment);
    this.#release(task.id);
    let network: TaskNetwork | undefined;
    let made = false;
    try {
      network = await this.#opener.open(task, {
        attachment: planned.attachment,
        netns,
        view: this.#state.view,
        nodeId: this.#nodeId,
      });
      this.#attaching.set(task.id, network);
      made = await this.#createDevices(network);
      const rulesLoaded = made ? this.#turn.run() : Promise.resolve(0);
      rulesLoaded.catch(() => {}); // Awaited below.
      await this.#connectTime.open();
      const sockets = await network.configure(reachable(this.#inputs(), network.local), this.#connectTime.inUse);
      this.#attached.set(task.id, { network, names: this.#serveNames(task, network.local, sockets) });
      await rulesLoaded;
    } catch (error) {
      // Devices of a running task that was there before stay, unless they turn out to be another namespace's.
      if (made || error instanceof InterfacesMissing) await this.#removeDevices(task.id);
      this.#release(task.id);
      network?.close();
      if (error instanceof FatalTaskError) throw error;
      if (error instanceof ParentRefused) throw new FatalTaskError(`network: ${error.message}`, { cause: error });
      throw new TemporaryError(`network: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
    } finally {
      this.#attaching.delete(task.id);
    }
    // What arrived while the task was attached.
    await this.#settle();
    return this.#files(task, network);
  }

  /** Waits until the task's packets can be encrypted, if they must be. */
  async #encrypted(taskId: string, { encrypted }: Attachment): Promise<void> {
    if (encrypted.length === 0) return;
    const isKnown = () => this.#encryption.ready || this.#encryption.problem !== undefined;
    await this.#state.until(isKnown, { isCancelled: () => this.#cancelled.has(taskId) });
    const { problem } = this.#encryption;
    if (problem === undefined) return;
    const message = `network ${encrypted.join(", ")}: encryption can't be set up: ${problem.message}`;
    throw problem.lasting ? new FatalTaskError(message) : new TemporaryError(message);
  }

  /** Has this node's end of encrypted networks follow; what hinders it is told to tasks that need it. */
  async #encrypt(): Promise<void> {
    if (!this.#state.ready || this.#closed) return;
    const networks = this.#inputs().tasks.flatMap(({ overlays }) => overlays.map(({ networkId }) => networkId));
    await this.#encryption.update(this.#state.view, networks);
  }

  /** Makes the bridges that the task needs, then its devices; false when they are there already. */
  async #createDevices(network: TaskNetwork): Promise<boolean> {
    await this.#turn.run();
    const { taskId, overlays } = network.local;
    const { indexes, network: host } = await this.#applier.observation();
    const made = await network.createDevices(new Set(host.links.keys()), (pair) => {
      const overlay = overlays.find((_, position) => portOf(taskId, position) === pair.hostDevice);
      return overlay === undefined ? undefined : indexes.get(bridgeOf(overlay.networkId));
    });
    if (made) this.#applier.forget();
    return made;
  }

  #serveNames(task: Task, local: LocalTask, sockets: NameServerSockets): NameServer {
    return new NameServer(sockets, {
      names: this.#namesFor(local),
      upstream: this.#upstream,
      resolvers: task.spec.container?.dnsConfig?.nameservers ?? [],
      log: this.#log.with({ "task.id": task.id }),
    });
  }

  /** Closes what is held for the task, and frees its address. */
  #release(taskId: string): void {
    const attached = this.#attached.get(taskId);
    this.#attached.delete(taskId);
    attached?.names.close();
    attached?.network.close();
    this.#opener.release((attached?.network ?? this.#attaching.get(taskId))?.local);
  }

  async #removeDevices(taskId: string): Promise<void> {
    const { network } = await this.#applier.observation();
    const names = [routedOf(taskId), ...Array.from({ length: 10 }, (_, position) => portOf(taskId, position))];
    const found = names.filter((name) => network.links.has(name));
    await converse(found.map(rtnetlink.deleteLink), this.#netns);
    if (found.length > 0) this.#applier.forget();
  }

  #knows(attachment: Attachment): boolean {
    if (!this.#state.ready) return false;
    if (this.#state.foreign) return true;
    if (attachment.overlays.length === 0 && attachment.ingressAddress === undefined) return true;
    if (!this.#state.view.nodes.has(this.#nodeId)) return false;
    return attachment.overlays.every(({ networkId }) => this.#state.view.networks.has(networkId));
  }

  #namesFor(local: LocalTask) {
    const networks = local.overlays.map((overlay) => overlay.networkId);
    const zone = () => this.#state.names(this.managers.leaving);
    return {
      lookup: (name: string) => zone().lookup(networks, name),
      reverse: (address: string) => zone().reverse(networks, address),
    };
  }

  #files(task: Task, network: TaskNetwork): NetworkFiles {
    const config = task.spec.container?.dnsConfig;
    const { overlays, routed } = network.local;
    return {
      resolvConf: renderResolvConf(
        this.#resolvers,
        config === undefined ? {} : { search: config.search, options: config.options },
      ),
      addresses: overlays.length > 0 ? overlays.flatMap(addressesOf) : routed === undefined ? [] : [routed],
    };
  }

  #inputs(): NodeInputs {
    const attached = [...this.#attached.values()].map(({ network }) => network.local);
    const attaching = [...this.#attaching.values()].map((network) => network.local);
    return {
      nodeId: this.#nodeId,
      view: this.#state.view,
      tasks: [...attached, ...attaching],
      leaving: this.managers.leaving,
      dead: [...this.#state.dead],
      underlayMtu: 1500,
      recovered: [],
      tunnels: this.#encryption.paths,
      relay: this.#encryption.relayPaths,
      ipv6: this.#ipv6,
    };
  }

  /** What the host's network and its tasks' should be made of now. */
  #wanted(observation: Observation): NodeInputs {
    const inputs = this.#inputs();
    const recovered = recoveredTasks(inputs.view, inputs.tasks, observation.network.routes.values());
    return { ...inputs, underlayMtu: underlayOf(observation, inputs.view.nodes.get(this.#nodeId)).mtu, recovered };
  }

  /** Applies what is wanted now, to the host and to each task's namespace. Returns how much of the host changed. */
  async #apply(): Promise<number> {
    if (!this.#state.ready || this.#closed) return 0;
    const observation = await this.#applier.observation();
    this.#tellAddresses(observation);
    // Nothing is awaited between: what is acknowledged is in the inputs.
    const inputs = this.#wanted(observation);
    const applied = this.managers.applying();
    const flush = this.#flushDue;
    this.#flushDue = [];
    try {
      await this.#applyConnectTime(inputs);
      const changed = await this.#applier.apply(inputs);
      await this.#removeVlans(idleVlans(observation.vlans, inputs));
      await this.#answerChecks();
      const tasks = [...this.#attached.values()].map(({ network }) => this.#applyTask(inputs, network, flush));
      tasks.push(this.#flush(this.#netns, hostFlush(inputs, flush)));
      if ((await Promise.all(tasks)).every((done) => done)) applied();
      return changed;
    } catch (error) {
      this.#flushDue = joinDue(this.#flushDue, flush);
      throw error;
    }
  }

  /** Other nodes' checks by TCP, at this host's address in the mesh once it has one. */
  async #answerChecks(): Promise<void> {
    const self = this.#state.view.nodes.get(this.#nodeId);
    const [address = ""] = ingressOf(this.#state.view) === undefined ? [] : (self?.meshAddress.split("/") ?? []);
    await this.#echo.listenAt(address, vxlanPortOf(self));
  }

  async #removeVlans(names: readonly string[]): Promise<void> {
    if (names.length === 0) return;
    await converse(names.map(rtnetlink.deleteLink), this.#netns);
    this.#applier.forget();
  }

  #tellAddresses({ hostAddresses }: Observation): void {
    const text = formatHostAddresses(hostAddresses);
    if (text === this.#hostAddresses) return;
    this.#hostAddresses = text;
    this.onLabels();
  }

  /** Tasks that the programs of connect time are to know. */
  #balanced(): readonly BalancedTask[] {
    return [...this.#attached.values()].flatMap(({ network: { cookie, own } }) =>
      cookie === undefined ? [] : { cookie, own },
    );
  }

  async #applyConnectTime(inputs: NodeInputs): Promise<void> {
    if (inputs.tasks.length + inputs.recovered.length === 0) this.#connectTime.close({ detach: true });
    else if (inputs.tasks.length > 0) await this.#connectTime.open();
    await this.#connectTime.apply(inputs, this.#balanced());
  }

  /** Whether every node has applied that the task takes no new connections. */
  #isDrained(taskId: string): boolean {
    for (const endpoint of this.#state.view.endpoints.values()) {
      if (endpoint.taskId === taskId && !endpoint.drained) return false;
    }
    return true;
  }

  /** Forgets tracked connections; a kernel that refuses is asked again later. */
  async #flush(netns: string | undefined, steps: readonly ConntrackStep[]): Promise<boolean> {
    if (steps.length === 0) return true;
    try {
      await runSteps(netns, steps);
      return true;
    } catch (error) {
      this.#log.warn("tracked connections could not be looked at", { error });
      this.#flushDue = "all";
      this.#retryLater();
      return false;
    }
  }

  /** One task's namespace that refuses (its processes may have touched it) holds up no other: it is tried again, whole. */
  async #applyTask(inputs: NodeInputs, task: TaskNetwork, flush: FlushDue): Promise<boolean> {
    try {
      await task.setReachable(reachable(inputs, task.local), this.#connectTime.inUse);
      return await this.#flush(task.netnsPath, taskFlush(inputs, task.local, flush));
    } catch (error) {
      this.#log.warn("virtual IPs could not be set", { "task.id": task.local.taskId, error });
      this.#flushDue = joinDue(this.#flushDue, flush);
      this.#retryLater();
      return false;
    }
  }

  /** Says once that overlay networks end at this host. */
  #warnOfLoopback(): void {
    const self = this.#state.view.nodes.get(this.#nodeId);
    if (this.#warned || self === undefined || self.underlayAddress !== "") return;
    this.#warned = true;
    this.#log.warn(
      "this node has no address that other nodes reach: its overlay networks and published ports work on this host " +
        "alone; give swarmd one with --advertise-remote-api",
      { "node.id": this.#nodeId },
    );
  }

  #retryLater(): void {
    this.#retry?.cancel();
    this.#retry = this.#clock.setTimer(retryMs, () => void this.#settle());
  }

  /** Applies; a failure is logged and tried again later, for the kernel's state isn't the caller's concern. */
  async #settle(): Promise<void> {
    if (this.#closed) return;
    this.#stirred++;
    try {
      await this.#turn.run();
    } catch (error) {
      this.#log.error("network could not be applied", { error });
      this.#retryLater();
    }
  }
}

/** A host without resolver configuration resolves nothing but the cluster's names. */
function hostResolvConf(): string {
  return existsSync("/etc/resolv.conf") ? readFileSync("/etc/resolv.conf", "utf8") : "";
}
