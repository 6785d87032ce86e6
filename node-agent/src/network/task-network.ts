import { randomUUID } from "node:crypto";
import { closeSync, openSync } from "node:fs";
import {
  closeNftSession,
  decodeLinks,
  decodeReplies,
  Errno,
  type Link,
  netnsCookie,
  rtnetlink,
  runSteps,
} from "@starling/native/net";
import type { Attachment } from "./attachment.ts";
import { type LocalTask, ownAddresses } from "./desired.ts";
import { checkAnswers, converse, loadRules } from "./host-applier.ts";
import { type NftTable, planTable } from "./nft-table.ts";
import { type NameServerPorts, nameServerAddress, type Reachable, taskTables } from "./nft-task.ts";
import type { Reach } from "./reach.ts";
import {
  configureRequests,
  createOnParent,
  createRequests,
  hostSysctls,
  type TaskInterface,
  type TaskParent,
  taskSysctls,
} from "./task-interfaces.ts";

/** Descriptors of a shim (native/shim/name_sockets.h). */
const shimSockets = { udp: 250, tcp: 251 } as const;

/** Sockets in a task's namespace where its name server listens; whoever gets them closes them. */
export interface NameServerSockets {
  readonly udpFd: number;
  readonly tcpFd: number;
}

export function closeSockets({ udpFd, tcpFd }: NameServerSockets): void {
  closeSync(udpFd);
  closeSync(tcpFd);
}

/** Devices that were made just now. */
export interface MadeDevices {
  readonly hostEnds: readonly Link[];
  /** Of their other ends, by name. */
  readonly indexes: ReadonlyMap<string, number>;
}

const loopbackUp = rtnetlink.setLink({ index: 1, up: true });

/** The host's ends of the task's devices are there, but their other ends are not in the task's namespace. */
export class InterfacesMissing extends Error {
  override readonly name = "InterfacesMissing";
}

/** The kernel won't have the task's device on the host's own: it won't another time. */
export class ParentRefused extends Error {
  override readonly name = "ParentRefused";
  constructor(
    { device }: TaskInterface,
    { driver }: TaskParent,
    { error, explanation }: { readonly error: number; readonly explanation: string },
  ) {
    const known: Readonly<Record<number, string>> = {
      [Errno.EOPNOTSUPP]: `this host's kernel has no ${driver}`,
      [Errno.EBUSY]:
        `the network's parent on this host can't have ${driver} devices, as it is a port of a bridge or has devices of another ` +
        "driver (macvlan and ipvlan don't share one): give the network a parent of its own (--opt parent=NAME,…)",
    };
    super(known[error] ?? `${device} could not be made by ${driver}: errno ${error} ${explanation}`.trim());
  }
}

/**
 * A task's network namespace, held open so that rules can be changed in it as long as the task is attached (and so that
 * what still arrives for a dead process is refused rather than lost). Closing it lets the namespace end.
 */
export class TaskNetwork {
  readonly local: LocalTask;
  readonly attachment: Attachment;
  readonly interfaces: readonly TaskInterface[];
  readonly #netnsFd: number;
  readonly #hostNetns: string | undefined;
  readonly #shim: number | undefined;
  /** What the tables are made of; undefined: not known, to be replaced whole. */
  #loaded: { readonly reach: Reach; readonly version: number } | undefined;
  #rendered: { readonly version: number; readonly tables: readonly NftTable[] } | undefined;
  #nameServer: NameServerPorts | undefined;
  #cookie: bigint | undefined;
  #closed = false;
  /** The last loading of rules: its session may be closed only after it. */
  #loading: Promise<void> = Promise.resolve();
  readonly #session = `task ${randomUUID()}`;

  constructor(options: {
    readonly netnsPath: string;
    /** Pid of the container's shim. */
    readonly shim: number | undefined;
    /** The host's namespace; undefined: the process's own. */
    readonly hostNetns: string | undefined;
    readonly local: LocalTask;
    readonly attachment: Attachment;
    readonly interfaces: readonly TaskInterface[];
  }) {
    this.#netnsFd = openSync(options.netnsPath, "r");
    this.#hostNetns = options.hostNetns;
    this.#shim = options.shim;
    this.local = options.local;
    this.attachment = options.attachment;
    this.interfaces = options.interfaces;
  }

  get netnsPath(): string {
    return `/proc/self/fd/${this.#netnsFd}`;
  }

  /** Makes those of the task's devices that are missing. `existing`: the host's; `masterOf` gives the index of the bridge of a port. */
  async createDevices(
    existing: ReadonlySet<string>,
    masterOf: (task: TaskInterface) => number | undefined,
  ): Promise<MadeDevices | undefined> {
    const madeOnParents = await this.#createOnParents();
    const missing = this.interfaces.filter((task) => task.parent === undefined && !existing.has(task.hostDevice));
    if (missing.length === 0) return madeOnParents ? { hostEnds: [], indexes: new Map() } : undefined;
    const requests = missing.flatMap((task) =>
      createRequests(task, { taskId: this.local.taskId, netnsFd: this.#netnsFd, master: masterOf(task) }),
    );
    const looks = missing.map(({ hostDevice }) => rtnetlink.getLinks(hostDevice));
    const [netlink, sysctl, looked] = await runSteps(this.#hostNetns, [
      { type: "netlink", protocol: rtnetlink.routeProtocol, requests },
      { type: "sysctl", settings: hostSysctls(missing) },
      { type: "netlink", protocol: rtnetlink.routeProtocol, requests: looks },
    ]);
    checkAnswers([...requests, ...looks], [...netlink.answers, ...looked.answers]);
    const error = sysctl.errors.find((text) => text !== "");
    if (error !== undefined) throw new Error(error);
    const hostEnds = decodeLinks(decodeReplies(looked.replies));
    const deviceOf = new Map(missing.map(({ hostDevice, device }) => [hostDevice, device]));
    return { hostEnds, indexes: new Map(hostEnds.map(({ name, link }) => [deviceOf.get(name)!, link])) };
  }

  /** Makes those of the devices on the host's own network that the namespace lacks, and gives them their names there. */
  async #createOnParents(): Promise<boolean> {
    const wanted = this.interfaces.flatMap((task) =>
      task.parent === undefined ? [] : [{ task, parent: task.parent }],
    );
    if (wanted.length === 0) return false;
    const before = await this.#devices();
    const missing = wanted.filter(({ task }) => !before.has(task.device) && !before.has(task.hostDevice));
    for (const { task, parent } of missing) {
      const requests = [createOnParent(task, parent, this.#netnsFd)];
      const step = { type: "netlink", protocol: rtnetlink.routeProtocol, requests } as const;
      const [{ answers }] = await runSteps(this.#hostNetns, [step]);
      const { error = 0, explanation = "" } = answers[0] ?? {};
      if (error !== 0) throw new ParentRefused(task, parent, { error, explanation });
    }
    const after = await this.#devices();
    const renames = wanted.flatMap(({ task: { hostDevice, device } }) => {
      const index = after.get(hostDevice);
      return index === undefined ? [] : [rtnetlink.setLink({ index, name: device })];
    });
    await converse(renames, this.netnsPath);
    return missing.length > 0;
  }

  /** Indexes of the devices inside by name. */
  async #devices(): Promise<ReadonlyMap<string, number>> {
    const step = { type: "netlink", protocol: rtnetlink.routeProtocol, requests: [rtnetlink.getLinks()] } as const;
    const [links] = await runSteps(this.netnsPath, [step]);
    return new Map(decodeLinks(decodeReplies(links.replies)).map((link) => [link.name, link.index]));
  }

  /** Addresses and routes inside. `made`: indexes of devices inside by name, as far as they are known. */
  async configure(made: ReadonlyMap<string, number> = new Map()): Promise<void> {
    const indexes = this.interfaces.every(({ device }) => made.has(device)) ? made : await this.#devices();
    const missing = this.interfaces.filter(({ device }) => !indexes.has(device));
    if (missing.length > 0)
      throw new InterfacesMissing(`no ${missing.map(({ device }) => device).join(", ")} in the namespace`);
    const requests = [loopbackUp, ...configureRequests(this.interfaces, indexes)];
    const [, { answers }] = await runSteps(this.netnsPath, [
      { type: "sysctl", settings: taskSysctls(this.interfaces) },
      { type: "netlink", protocol: rtnetlink.routeProtocol, requests },
    ]);
    checkAnswers(requests, answers);
  }

  /** Opens the name server's sockets and loads the rules inside, which need no device. */
  async serveNames(reach: Reach): Promise<NameServerSockets> {
    const { udp, tcp } = await this.#openSockets();
    const sockets = { udpFd: udp.fd, tcpFd: tcp.fd };
    try {
      this.#nameServer = { udp: udp.port, tcp: tcp.port };
      this.forgetTables();
      this.#cookie = cookieOf(udp.fd);
      await this.setReachable(reach);
      return sockets;
    } catch (error) {
      closeSockets(sockets);
      throw error;
    }
  }

  async #openSockets() {
    return (await this.#heldSockets()) ?? (await this.#ownSockets());
  }

  /** Those that the container's shim holds, so that queries wait in them while no swarmd runs; undefined: it has none. */
  async #heldSockets() {
    if (this.#shim === undefined) return undefined;
    const held = { type: "held", pid: this.#shim, address: nameServerAddress } as const;
    try {
      const [udp, tcp] = await runSteps(undefined, [
        { ...held, fd: shimSockets.udp },
        { ...held, fd: shimSockets.tcp },
      ]);
      return { udp, tcp };
    } catch {
      // A shim of before it held sockets, or no shim at all.
      return undefined;
    }
  }

  async #ownSockets() {
    const socket = { type: "socket", address: nameServerAddress, port: 0 } as const;
    const [, udp, tcp] = await runSteps(this.netnsPath, [
      // Without it nothing is bound to its addresses.
      { type: "netlink", protocol: rtnetlink.routeProtocol, requests: [loopbackUp] },
      { ...socket, tcp: false },
      { ...socket, tcp: true },
    ]);
    return { udp, tcp };
  }

  /** What names its network namespace; undefined before `serveNames`, and on kernels that give it no name. */
  get cookie(): bigint | undefined {
    return this.#cookie;
  }

  /** What the task reaches from now on. Returns whether anything changed. */
  async setReachable(reach: Reach): Promise<boolean> {
    if (this.#closed || this.#nameServer === undefined) return false;
    const { version } = reach;
    const update = reach.since(this.#loaded?.reach === reach ? this.#loaded.version : undefined);
    const before = update.kind === "part" ? this.#tablesOf(update.before) : [];
    const next = update.kind === "none" ? [] : this.#tablesOf(update.kind === "part" ? update.after : update.reachable);
    const script = next.map((table, position) => planTable(before[position], table)).join("");
    if (script !== "") {
      this.forgetTables();
      this.#loading = loadRules(this.netnsPath, script, this.#session);
      await this.#loading;
    }
    this.#loaded = { reach, version };
    return script !== "";
  }

  #tablesOf(reachable: Reachable): readonly NftTable[] {
    return taskTables(reachable, { nameServer: this.#nameServer, own: ownAddresses(this.local) });
  }

  /** The tables as they should be in the kernel now; none while they are not known, or about to change. */
  get tables(): readonly NftTable[] {
    if (this.#loaded === undefined) return [];
    const { reach, version } = this.#loaded;
    if (reach.version !== version) return [];
    if (this.#rendered?.version !== version) this.#rendered = { version, tables: this.#tablesOf(reach.reachable) };
    return this.#rendered.tables;
  }

  forgetTables(): void {
    this.#loaded = undefined;
    this.#rendered = undefined;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    const closeSession = () => closeNftSession(this.#session);
    this.#loading.then(closeSession, closeSession);
    closeSync(this.#netnsFd);
  }
}

/** Of the network namespace of a socket; undefined before kernel 5.14. */
function cookieOf(socket: number): bigint | undefined {
  try {
    return netnsCookie(socket);
  } catch {
    // eBPF for virtual IPs is refused there, too, and that is logged.
    return undefined;
  }
}
