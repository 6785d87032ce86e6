import { readFileSync } from "node:fs";
import type { Logger } from "@starling/base";
import { Balancer, type BalancerMap, balancerMaps } from "@starling/native/net";
import {
  type BalancedTask,
  type BalancerPart,
  balancerParts,
  type Entries,
  entriesOf,
  planEntries,
  planParts,
  withoutUnknown,
} from "./balancer-plan.ts";
import { type NodeInputs, usedNetworks, virtualServicesOf } from "./desired.ts";
import { tasksCgroup } from "./tasks-cgroup.ts";

/**
 * Virtual IPs by eBPF when a socket connects: one set of maps for all tasks of this host. States: *unused* (no group was named, or
 * no task is here), *open*, and *refused* for ever, when the kernel did not allow something: then tasks' own tables do
 * it all.
 */
export class ConnectTime {
  readonly #options: { readonly nodeId: string; readonly log: Logger };
  /** Folder of the group of cgroup v2 that all tasks are below; undefined: not to be used, or refused. */
  #cgroup: string | undefined;
  #balancer: Balancer | undefined;
  /** What the maps have; undefined: not known. */
  #parts: ReadonlyMap<string, BalancerPart> | undefined;

  constructor(options: { readonly nodeId: string; readonly log: Logger; readonly cgroup: string | undefined }) {
    this.#options = options;
    this.#cgroup = options.cgroup;
  }

  /** Whether virtual IPs are left to it. */
  get inUse(): boolean {
    return this.#balancer !== undefined;
  }

  /** Attaches the programs, or has them attached. */
  async open(): Promise<void> {
    if (this.#balancer !== undefined || this.#cgroup === undefined) return;
    try {
      this.#balancer = await Balancer.open(this.#cgroup, this.#options.nodeId);
      this.#options.log.info("virtual IPs by eBPF when a socket connects", { cgroup: this.#cgroup });
    } catch (error) {
      this.#refused(error);
    }
  }

  /** Has the maps be as `inputs` and `tasks` say. When they can't, tables are to do it from now on. */
  async apply(inputs: NodeInputs, tasks: readonly BalancedTask[]): Promise<void> {
    const balancer = this.#balancer;
    if (balancer === undefined) return;
    const next = partsOf(inputs, tasks);
    try {
      const changes =
        this.#parts === undefined
          ? planEntries(withoutUnknown(await readAll(balancer), cookies(tasks)), entriesOf(next.values()))
          : planParts(this.#parts, next);
      this.#parts = undefined;
      if (changes.length > 0) await balancer.change(changes);
      this.#parts = next;
    } catch (error) {
      this.#close({ detach: true });
      this.#refused(error);
    }
  }

  /** What differs from what was applied, each a sentence. */
  async differences(tasks: readonly BalancedTask[]): Promise<readonly string[]> {
    const balancer = this.#balancer;
    if (balancer === undefined || this.#parts === undefined) return [];
    const wanted = entriesOf(this.#parts.values());
    const changes = planEntries(withoutUnknown(await readAll(balancer), cookies(tasks)), wanted);
    const found = (Object.keys(balancerMaps) as BalancerMap[]).flatMap((map) => {
      const count = changes.filter((change) => change.map === map).length;
      return count === 0 ? [] : [`${count} entries of the eBPF map ${map} are not as they should be`];
    });
    return balancer.isAttached ? found : [...found, "eBPF programs for virtual IPs are not attached"];
  }

  /** Has the next `open` and `apply` look again. */
  forget(): void {
    this.#parts = undefined;
    if (this.#balancer?.isAttached === false) this.#close({ detach: false });
  }

  /** Takes the programs away when no task is here, as `detach`; without it they go on for those that run. */
  close(options: { readonly detach: boolean }): void {
    if (this.#balancer !== undefined) this.#close(options);
  }

  #close(options: { readonly detach: boolean }): void {
    this.#balancer?.close(options);
    this.#balancer = undefined;
    this.#parts = undefined;
  }

  #refused(error: unknown): void {
    this.#cgroup = undefined;
    this.#options.log.warn("virtual IPs by nftables, since the kernel does not allow eBPF for them", { error });
  }
}

/** See `tasksCgroup`, of this process. `parent`: where containers have their groups instead of beside swarmd's. */
export function ownTasksCgroup(parent: string | undefined): string | undefined {
  const [mountinfo, group] = ["mountinfo", "cgroup"].map((file) => readFileSync(`/proc/self/${file}`, "utf8"));
  return tasksCgroup(mountinfo!, group!, parent);
}

const cookies = (tasks: readonly BalancedTask[]) => tasks.map(({ cookie }) => cookie);

/** Services on all networks that have a task on this node. */
function partsOf(inputs: NodeInputs, tasks: readonly BalancedTask[]): ReadonlyMap<string, BalancerPart> {
  const used = usedNetworks(inputs);
  const services = [...inputs.view.services.values()].flatMap((service) => virtualServicesOf(inputs, service, used));
  const vniOf = (networkId: string) => inputs.view.networks.get(networkId)?.vni ?? 0;
  return balancerParts(services, tasks, vniOf);
}

async function readAll(balancer: Balancer): Promise<Entries> {
  const names = Object.keys(balancerMaps) as BalancerMap[];
  const read = await Promise.all(names.map(async (name) => [name, await balancer.read(name)] as const));
  return Object.fromEntries(read) as unknown as Entries;
}
