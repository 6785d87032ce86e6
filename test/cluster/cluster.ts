import { rmSync } from "node:fs";
import { join } from "node:path";
import { SwarmError } from "@starling/base";
import { createGroups, createLeaf, hierarchies, removeGroups } from "./cgroups.ts";
import { createHost, groupName, Host, killHost, portOf } from "./host.ts";
import { bootId, identify, isAlive, type ProcessIdentity } from "./identity.ts";
import { statesFolder } from "./paths.ts";
import { gateway, hostsFile, planHosts, prefixLength } from "./plan.ts";
import {
  addCluster,
  type ClusterRecord,
  clusterFolder,
  listClusters,
  readCluster,
  readHost,
  removeUnfinished,
  writeHost,
} from "./records.ts";
import { ipBatch, mustExec } from "./run.ts";

export interface ClusterOptions {
  /** Lower-case letters, digits and dashes, 24 characters at most; unique on the machine. */
  readonly name: string;
  /** Host names; their addresses follow from them, see `planHosts`. */
  readonly hosts: readonly string[];
  /** Outlives this process, until someone takes it down. By default a cluster is garbage when its maker is gone. */
  readonly keep?: boolean;
}

/** Record key and cgroup name of the switch. */
const switchName = "switch";

/**
 * Hosts as namespaces, on one switch: a bridge in a network namespace of its own, so that the machine's network is never
 * touched and two clusters never meet. Everything is held by processes: nothing is mounted in the machine's own mount
 * namespace, and ending the processes takes namespaces, mounts and devices along. Needs root.
 */
export class TestCluster {
  readonly name: string;
  readonly #hosts: ReadonlyMap<string, Host>;
  readonly #record: ClusterRecord;
  readonly #switch: ProcessIdentity;

  private constructor(record: ClusterRecord, switchProcess: ProcessIdentity) {
    this.name = record.name;
    this.#record = record;
    this.#switch = switchProcess;
    const context = { cluster: record, switchPid: switchProcess.pid };
    this.#hosts = new Map(record.hosts.map((plan) => [plan.name, new Host(plan, context)]));
  }

  /**
   * Makes the hosts and starts them all. First removes every cluster whose maker is gone. Throws AlreadyExists when a
   * live cluster has the name; on any failure nothing is left behind.
   */
  static async create(options: ClusterOptions): Promise<TestCluster> {
    if (!/^[a-z0-9][a-z0-9-]{0,23}$/.test(options.name)) {
      throw new SwarmError(
        "InvalidArgument",
        `cluster name "${options.name}": want lower-case letters, digits and dashes, 24 at most`,
      );
    }
    await sweep();
    const hosts = planHosts(options.hosts);
    const parents = hierarchies().map((hierarchy) => hierarchy.parent);
    const owner = identify(process.pid);
    const folders = (host: string) => parents.map((parent) => join(parent, groupName(options.name, host)));
    const record: ClusterRecord = {
      version: 1,
      name: options.name,
      bootId: bootId(),
      ...(owner && !options.keep ? { owner } : {}),
      hosts,
      cgroups: Object.fromEntries([...hosts.map((h) => h.name), switchName].map((name) => [name, folders(name)])),
    };
    addCluster(record, {
      hosts: hostsFile(hosts),
      "resolv.conf": "# No name server: names of hosts are in /etc/hosts.\noptions timeout:1 attempts:1\n",
    });
    try {
      const cluster = new TestCluster(record, await startSwitch(record));
      await Promise.all(cluster.hosts().map((host) => host.start()));
      return cluster;
    } catch (error) {
      await remove(record);
      throw error;
    }
  }

  /** A cluster that another process has made; throws NotFound if there is none of that name or its switch is gone. */
  static open(name: string): TestCluster {
    const record = readCluster(name);
    const switchProcess = record && readHost(record, switchName).init;
    if (!record || !switchProcess || !isAlive(switchProcess)) {
      throw new SwarmError("NotFound", `no cluster "${name}": make it first (npm run cluster -- up --name ${name})`);
    }
    return new TestCluster(record, switchProcess);
  }

  /** Ends and removes the cluster `name` and its hosts' state, whatever condition it is in; false if there was none. */
  static async remove(name: string): Promise<boolean> {
    const record = readCluster(name);
    if (record) await remove(record);
    return record !== undefined;
  }

  /** Throws NotFound for a name that is not in the cluster. */
  host(name: string): Host {
    const host = this.#hosts.get(name);
    if (!host)
      throw new SwarmError(
        "NotFound",
        `no host "${name}" in cluster ${this.name}: has ${[...this.#hosts.keys()].join(" ")}`,
      );
    return host;
  }

  hosts(): readonly Host[] {
    return [...this.#hosts.values()];
  }

  /**
   * Splits the network: hosts of different groups no longer reach one another, though their cables are in. Hosts of no
   * group reach everyone. Replaces an earlier partition; `[]` ends it. Holds over restarts of hosts.
   */
  async partition(groups: readonly (readonly string[])[]): Promise<void> {
    const ports = groups.map((names) => `{ ${names.map((name) => `"${portOf(this.host(name).name)}"`).join(", ")} }`);
    const drops = ports.flatMap((from, i) =>
      ports.map((to, j) => (i === j ? "" : `iifname ${from} oifname ${to} drop;`)),
    );
    const rules = [
      "table bridge partition;",
      "delete table bridge partition;",
      `table bridge partition { chain c { type filter hook forward priority 0; ${drops.join(" ")} }; }`,
    ];
    await mustExec(["nsenter", `--net=/proc/${this.switchPid}/ns/net`, "nft", "-f", "-"], { input: rules.join("\n") });
  }

  /** First process of the switch: its network namespace is where all cables meet. */
  get switchPid(): number {
    return this.#switch.pid;
  }

  /** Folder of the cluster's record and of its hosts' logs. */
  get folder(): string {
    return clusterFolder(this.name);
  }

  /** Ends every host and removes all that is theirs, their state too. */
  async destroy(): Promise<void> {
    await remove(this.#record);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.destroy();
  }
}

/**
 * The janitor: removes all clusters whose maker is gone, also those of a maker that was killed at any moment, and of
 * before a reboot. Returns their names.
 */
export async function sweep(): Promise<readonly string[]> {
  removeUnfinished();
  const dead = listClusters().filter((c) => c.bootId !== bootId() || (c.owner && !isAlive(c.owner)));
  await Promise.all(dead.map(remove));
  return dead.map((c) => c.name);
}

async function startSwitch(record: ClusterRecord): Promise<ProcessIdentity> {
  const groups = record.cgroups[switchName] ?? [];
  createGroups(groups);
  const init = await createHost({
    name: switchName,
    log: join(clusterFolder(record.name), "switch.init.log"),
    cgroups: createLeaf(groups, "init"),
  });
  writeHost(record, switchName, { init });
  await ipBatch(init.pid, [
    "link set lo up",
    "link add br0 type bridge forward_delay 0",
    `addr add ${gateway}/${prefixLength} dev br0`,
    "link set br0 up",
  ]);
  // A switch looks into no packet: without this the kernel has each pass the hooks of IP, at the hosts' expense.
  const noHooks = "for f in /proc/sys/net/bridge/bridge-nf-call-ip*tables; do [ ! -e $f ] || echo 0 > $f; done";
  await mustExec(["nsenter", `--net=/proc/${init.pid}/ns/net`, "sh", "-c", noHooks]);
  return init;
}

/** Works from the record alone: a host whose maker died before writing its pid is found through its cgroups. */
async function remove(record: ClusterRecord): Promise<void> {
  await Promise.all(
    [switchName, ...record.hosts.map((h) => h.name)].map(async (name) => {
      const groups = record.cgroups[name] ?? [];
      const { init } = readHost(record, name);
      if (init) await killHost(init, groups);
      await removeGroups(groups);
    }),
  );
  rmSync(join(statesFolder, record.name), { recursive: true, force: true });
  rmSync(clusterFolder(record.name), { recursive: true, force: true });
}
