import { fileURLToPath } from "node:url";
import { addon } from "./addon.ts";

/** The maps that are filled from here, in the order that numbers them (balancer.cc), with the sizes of balancer.bpf.c's keys and values in bytes. */
export const balancerMaps = {
  networks_of: { number: 0, keySize: 8, valueSize: 40 },
  services: { number: 1, keySize: 20, valueSize: 8 },
  slots: { number: 2, keySize: 24, valueSize: 16 },
  sticky: { number: 3, keySize: 32, valueSize: 16 },
} as const;

export type BalancerMap = keyof typeof balancerMaps;

/** Sets an entry, or without `value` deletes it. Bytes as hexadecimal digits. */
export interface BalancerChange {
  readonly map: BalancerMap;
  readonly key: string;
  readonly value?: string | undefined;
}

/**
 * Programs at a control group of cgroup v2 that make TCP connections of the tasks below it to virtual IPs to services' tasks instead
 * (balancer.bpf.c). They and their maps outlive the process; a later one with the same node id finds the maps as they were.
 */
export class Balancer {
  readonly #number: number;

  private constructor(number: number) {
    this.#number = number;
  }

  /** Rejects where the kernel, libbpf or the group does not allow it. */
  static async open(cgroup: string, nodeId: string): Promise<Balancer> {
    const object = fileURLToPath(new URL("build/Release/balancer.bpf.o", import.meta.url));
    return new Balancer(await addon().openBalancer(object, cgroup, nodeId));
  }

  /** Takes away what a former process with that node id left at the group. Rejects where the kernel does not allow to look. */
  static async remove(cgroup: string, nodeId: string): Promise<void> {
    await addon().removeBalancer(cgroup, nodeId);
  }

  /** Makes the changes in their order; rejects at the first that is refused. */
  change(changes: readonly BalancerChange[]): Promise<void> {
    const text = changes.map(({ map, key, value }) => {
      const { number } = balancerMaps[map];
      return `${value === undefined ? "00" : "01"}0${number}${key}${value ?? ""}`;
    });
    return addon().changeBalancer(this.#number, Buffer.from(text.join(""), "hex"));
  }

  /** What a map has: value by key. */
  async read(map: BalancerMap): Promise<ReadonlyMap<string, string>> {
    const { number, keySize, valueSize } = balancerMaps[map];
    const bytes = Buffer.from(await addon().readBalancer(this.#number, number));
    const entries = new Map<string, string>();
    for (let at = 0; at < bytes.length; at += keySize + valueSize) {
      entries.set(
        bytes.toString("hex", at, at + keySize),
        bytes.toString("hex", at + keySize, at + keySize + valueSize),
      );
    }
    return entries;
  }

  /** Whether every program is still at the control group. */
  get isAttached(): boolean {
    return addon().isBalancerAttached(this.#number);
  }

  /** Ends this process's hold; `detach` takes the programs away, too. */
  close(options: { readonly detach: boolean }): void {
    addon().closeBalancer(this.#number, options.detach);
  }
}

/** What names the network namespace of a socket in `networks_of`; throws before kernel 5.14. */
export const netnsCookie = (socket: number): bigint => addon().netnsCookie(socket);
