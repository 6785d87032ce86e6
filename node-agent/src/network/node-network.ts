import { existsSync } from "node:fs";
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
import { attachable } from "./attachable.ts";
import { planAttachment, publishedHostPorts } from "./attachment.ts";
import { Auditor } from "./auditor.ts";
import { ConnectTime } from "./connect-time.ts";
import { untilIdle } from "./connections.ts";
import { describePlan, type Finding } from "./describe-plan.ts";
import { type NodeInputs, overlayMtu, vxlanPortOf } from "./desired.ts";
import { DesiredState } from "./desired-state.ts";
import type { NameServer } from "./dns/name-server.ts";
import { TaskNames } from "./dns/task-names.ts";
import { EchoServer } from "./echo-server.ts";
import { Encryption, type EncryptionOptions } from "./encryption/encryption.ts";
import { judgeWays, pathOf } from "./encryption/judge-ways.ts";
import { hostWireGuard, type WireGuard } from "./encryption/wireguard.ts";
import { type FlushDue, hostFlush, taskFlush } from "./flush.ts";
import { Flusher } from "./flusher.ts";
import { converse, HostApplier } from "./host-applier.ts";
import { HostShortcuts } from "./host-shortcuts.ts";
import { Managers } from "./managers.ts";
import { type Observation, underlayOf } from "./observe.ts";
import { idleVlans } from "./parent-device.ts";
import { checkPaths } from "./path-check.ts";
import type { HostPlan } from "./plan-host.ts";
import type { LoadPrograms } from "./shortcuts.ts";
import { meshAddressOf } from "./state.ts";
import { TaskDevices } from "./task-devices.ts";
import {
  closeSockets,
  InterfacesMissing,
  type MadeDevices,
  type NameServerSockets,
  ParentRefused,
  type TaskNetwork,
} from "./task-network.ts";
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
  /** Folder of the group of cgroup v2 that all tasks' processes are below; default: virtual IPs by nftables alone. */
  readonly cgroup?: string | undefined;
  /** Whether virtual IPs of TCP are by eBPF where the kernel allows it; default: true. */
  readonly connectTime?: boolean;
  /** Whether frames of overlay networks go past their bridges by eBPF where the kernel allows it; default: true. */
  readonly frameShortcuts?: boolean;
  /** Whether connections of the routing mesh go past the host's rules by eBPF where the kernel allows it; default: true. */
  readonly meshShortcuts?: boolean;
  /** Loads the programs for both; default: from this build. */
  readonly loadShortcuts?: LoadPrograms;
  /** Default: the host's. */
  readonly wireguard?: WireGuard;
  /** Age at which keys of encrypted networks are replaced, and how long the former one still takes packets; defaults: 12 h, 5 min. */
  readonly keys?: { readonly rotateAfterMs?: Millis; readonly retireAfterMs?: Millis };
  /** Forgets tracked connections of a namespace (undefined: the process's own); default: the kernel does. */
  readonly forget?: Forget;
  /** How long nodes of encrypted networks may be silent before a relay is looked for; default: Encryption's. */
  readonly reach?: Pick<EncryptionOptions, "patience" | "lookMs">;
}

type Forget = (netns: string | undefined, steps: readonly ConntrackStep[]) => Promise<unknown>;

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
  readonly #names: TaskNames;
  readonly #desired: DesiredState;
  readonly #opener: TaskOpener;
  readonly #devices: TaskDevices;
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
  readonly #shortcuts: HostShortcuts;
  readonly #flusher: Flusher;
  readonly #forget: Forget;
  /** Tasks that ran under the swarmd before: which of their connections lead to tasks that left meanwhile is not known. */
  readonly #takenOver = new Set<TaskNetwork>();
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
    const { view } = this.#state;
    const { leaving } = this.managers;
    this.#desired = new DesiredState({ nodeId: options.nodeId, ipv6: this.#ipv6, view, leaving });
    this.#state.onDead = (endpoint, isDead) => this.#desired.setDead(endpoint, isDead);
    this.#forget = options.forget ?? runSteps;
    const look = (due: FlushDue) => this.#look(due);
    this.#flusher = new Flusher({ look, onRefused: () => this.#retryLater(), log: options.log });
    this.#applier = new HostApplier({ log: options.log, netns: options.netns, desired: this.#desired });
    this.#devices = new TaskDevices({ applier: this.#applier, desired: this.#desired, netns: options.netns });
    this.#opener = new TaskOpener({ applier: this.#applier, netns: options.netns, ipv6: this.#ipv6 });
    this.#echo = new EchoServer(options.log, options.netns);
    this.#names = new TaskNames({ ...options, resolvConf: options.resolvConf, view, leaving });
    const { cgroup, connectTime: use = true } = options;
    this.#connectTime = new ConnectTime({ ...options, desired: this.#desired, cgroup, use });
    this.#shortcuts = new HostShortcuts({
      ...{ log: options.log, netns: options.netns, desired: this.#desired, applier: this.#applier },
      use: { frames: options.frameShortcuts ?? true, mesh: options.meshShortcuts ?? true },
      load: options.loadShortcuts,
      onRefused: () => this.#retryLater(),
    });
    const audited = {
      applier: this.#applier,
      netns: options.netns,
      tasks: () => [...this.#attached.values()].map(({ network }) => network),
      settle: () => this.#whole(),
      mend: async () => {
        this.#connectTime.forget();
        this.#shortcuts.forget();
        await this.#encryption.mend();
        await this.#turn.run();
        await this.#whole();
      },
      differences: async () => [
        ...describePlan(await this.#differences()),
        ...(await this.#encryption.differences()).map((detail) => ({ subject: "encryption", detail })),
        ...(await this.#connectTime.differences()).map((detail) => ({ subject: "rules", detail })),
        ...(await this.#shortcuts.differences()).map((detail) => ({ subject: "rules", detail })),
      ],
      admit: async (repair: boolean) => {
        const findings = await this.#applier.admit(repair);
        await this.#shortcuts.follow();
        return findings;
      },
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

  /**
   * Takes in a message of the managers' stream and applies it; resolves when the kernel's tables have it. Tracked connections are
   * looked at after that (`settled`). Failures are logged and tried again.
   */
  async receive(message: NetworkStateMessage): Promise<void> {
    this.#stirred++;
    this.#desired.receive(message, () => this.#flusher.add(this.#state.receive(message)));
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

  /** Whether virtual IPs of TCP are by eBPF now; not while no task is here. */
  get usesConnectTime(): boolean {
    return this.#connectTime.inUse;
  }

  /** Rejects where the kernel does not allow them to be, saying why. */
  async mustUseConnectTime(): Promise<void> {
    await this.#connectTime.open();
    const { refusal } = this.#connectTime;
    if (refusal !== undefined) throw new SwarmError("FailedPrecondition", `virtual IPs by eBPF: ${refusal}`);
  }

  /** What goes past the bridges and rules of the host by eBPF; not while nothing of it is here, nor while rules judge it. */
  get shortcuts(): Pick<HostShortcuts, "frames" | "mesh"> {
    return this.#shortcuts;
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
    this.#desired.leaves(taskId, () => this.managers.leave(taskId));
    this.#flusher.add(this.#state.view.endpointsOf(taskId));
    await this.#settle();
    // Its datagrams go elsewhere before it gets its signal.
    await this.#flusher.flushed();
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
      await this.#devices.remove(taskId);
      this.#desired.leaves(taskId, () => this.managers.forget(taskId));
      await this.#settle();
      void this.#encrypt();
    });
  }

  hostPorts(task: Task): readonly PortConfig[] {
    return publishedHostPorts(task, this.#attached.get(task.id)?.network.attachment.hostPorts ?? []);
  }

  /** Resolves when nothing is under way: what was received is applied, and no tracked connection is left to be looked at. */
  async settled(): Promise<void> {
    await this.#turn.idle();
    await this.#shortcuts.idle();
    await this.#flusher.flushed();
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
    const { ingress } = view;
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
    await this.#shortcuts.close();
    await this.#flusher.close();
    for (const { network, names } of this.#attached.values()) {
      names.close();
      network.close();
    }
    this.#attached.clear();
    this.#echo.close();
    await this.#connectTime.close({ detach: false });
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
    await attachable(planned.attachment, {
      ...{ nodeId: this.#nodeId, state: this.#state, encryption: this.#encryption },
      isCancelled: () => this.#cancelled.has(task.id),
    });
    this.#release(task.id);
    let network: TaskNetwork | undefined;
    let names: Promise<NameServerSockets> | undefined;
    let made: MadeDevices | undefined;
    try {
      network = await this.#opener.open(task, {
        attachment: planned.attachment,
        netns,
        view: this.#state.view,
        nodeId: this.#nodeId,
      });
      await this.#devices.expect(network);
      this.#attaching.set(task.id, network);
      this.#desired.setTask(network.local);
      await this.#turn.run();
      names = network.serveNames(this.#desired.reachOf(network.local));
      names.catch(() => {}); // Awaited below.
      made = await this.#devices.create(network);
      const entriesMade = made === undefined ? Promise.resolve(0) : this.#turn.run();
      entriesMade.catch(() => {}); // Awaited below.
      await network.configure(made?.indexes);
      this.#attached.set(task.id, { network, names: this.#names.serve(task, network.local, await names) });
      names = undefined;
      await entriesMade;
    } catch (error) {
      // When opening them failed there are none.
      await names?.then(closeSockets, () => {});
      // Devices of a running task that was there before stay, unless they turn out to be another namespace's.
      if (made !== undefined || error instanceof InterfacesMissing) await this.#devices.remove(task.id);
      this.#release(task.id);
      network?.close();
      if (error instanceof FatalTaskError) throw error;
      if (error instanceof ParentRefused) throw new FatalTaskError(`network: ${error.message}`, { cause: error });
      throw new TemporaryError(`network: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
    } finally {
      this.#attaching.delete(task.id);
    }
    if (network.cookie !== undefined) this.#desired.setCookie(task.id, network.cookie);
    // What arrived while the task was attached.
    await this.#settle();
    if (made === undefined) {
      this.#takenOver.add(network);
      void this.#flusher.flushed();
    }
    return this.#names.files(task, network.local);
  }

  /** Has this node's end of encrypted networks follow; what hinders it is told to tasks that need it. */
  async #encrypt(): Promise<void> {
    if (!this.#state.ready || this.#closed) return;
    const networks = this.#desired.inputs.tasks.flatMap(({ overlays }) => overlays.map(({ networkId }) => networkId));
    await this.#encryption.update(this.#state.view, networks);
  }

  /** Closes what is held for the task, and frees its address. */
  #release(taskId: string): void {
    const attached = this.#attached.get(taskId);
    this.#attached.delete(taskId);
    this.#desired.removeTask(taskId);
    if (attached !== undefined) this.#takenOver.delete(attached.network);
    attached?.names.close();
    attached?.network.close();
    this.#opener.release((attached?.network ?? this.#attaching.get(taskId))?.local);
  }

  /** What the host's network and its tasks' should be made of, by what was looked at. */
  #wanted(observation: Observation): NodeInputs {
    const self = this.#state.view.nodes.get(this.#nodeId);
    this.#desired.setTunnels(this.#encryption.paths, this.#encryption.relayPaths);
    this.#desired.observed(underlayOf(observation, self).mtu, observation.routed);
    return this.#desired.inputs;
  }

  async #differences(): Promise<HostPlan> {
    this.#wanted(await this.#applier.observation());
    return this.#applier.differences();
  }

  /** Applies what is wanted now, to the host and to each task's namespace. Returns how much of the host changed. */
  async #apply(): Promise<number> {
    if (!this.#state.ready || this.#closed) return 0;
    const observation = await this.#applier.observation();
    this.#tellAddresses(observation);
    // Nothing is awaited between: what is acknowledged is in the inputs.
    const inputs = this.#wanted(observation);
    const applied = this.managers.applying();
    const due = this.#flusher.take();
    try {
      const changed = await this.#applier.apply();
      void this.#shortcuts.follow();
      await this.#removeVlans(idleVlans(observation.vlans, inputs));
      await this.#answerChecks();
      // A task that leaves is out of connect time before the tables, and one that comes is reached by then.
      await this.#applyConnectTime(inputs);
      for (const reach of this.#desired.reaches) reach.take();
      const tasks = await Promise.all(Array.from(this.#attached.values(), ({ network }) => this.#applyTask(network)));
      const isWhole = tasks.every((done) => done);
      if (!isWhole) this.#flusher.add(due);
      this.#flusher.applied(due, isWhole ? applied : undefined);
      return changed;
    } catch (error) {
      this.#flusher.add(due);
      throw error;
    }
  }

  /** Has the host and tasks forget the tracked connections among those due that lead where none should, by what is wanted now. */
  async #look(due: FlushDue): Promise<void> {
    const { inputs } = this.#desired;
    const looks = [{ netns: this.#netns, steps: hostFlush(inputs, due) }];
    for (const { network } of this.#attached.values()) {
      const steps = taskFlush(inputs, network.local, this.#takenOver.delete(network) ? "all" : due);
      looks.push({ netns: network.netnsPath, steps });
    }
    // All begin here: a task's path holds as long as it is attached.
    const begun = looks.flatMap(({ netns, steps }) => (steps.length === 0 ? [] : this.#forget(netns, steps)));
    const failed = (await Promise.allSettled(begun)).find(({ status }) => status === "rejected");
    if (failed?.status === "rejected") throw failed.reason;
  }

  /** Other nodes' checks by TCP, at this host's address in the mesh once it has one. */
  async #answerChecks(): Promise<void> {
    const self = this.#state.view.nodes.get(this.#nodeId);
    const address = this.#state.view.ingress === undefined ? "" : meshAddressOf(self);
    await this.#echo.listenAt(address, vxlanPortOf(self));
  }

  async #removeVlans(names: readonly string[]): Promise<void> {
    if (names.length === 0) return;
    await converse(names.map(rtnetlink.deleteLink), this.#netns);
    this.#applier.forgetLinks();
  }

  #tellAddresses({ hostAddresses }: Observation): void {
    const text = formatHostAddresses(hostAddresses);
    if (text === this.#hostAddresses) return;
    this.#hostAddresses = text;
    this.onLabels();
  }

  /** Nobody waits for programs to be loaded: until then tables do it. */
  async #applyConnectTime({ tasks, recovered }: NodeInputs): Promise<void> {
    if (tasks.length + recovered.length === 0) await this.#connectTime.close({ detach: true });
    else if (tasks.length > 0 && this.#connectTime.isIdle) void this.#connectTime.open().then(() => this.#settle());
    await this.#connectTime.apply();
  }

  /** Applies what is wanted, with what is under way beside it. */
  async #whole(): Promise<void> {
    await this.#connectTime.opened();
    await this.#turn.run();
    await this.#shortcuts.idle();
  }

  /** Whether every node has applied that the task takes no new connections. */
  #isDrained(taskId: string): boolean {
    return this.#state.view.endpointsOf(taskId).every(({ drained }) => drained);
  }

  /** One task's namespace that refuses (its processes may have touched it) holds up no other: it is tried again, whole. */
  async #applyTask(task: TaskNetwork): Promise<boolean> {
    try {
      await task.setReachable(this.#desired.reachOf(task.local));
      return true;
    } catch (error) {
      this.#log.warn("virtual IPs could not be set", { "task.id": task.local.taskId, error });
      task.forgetTables();
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
