import { addon } from "./addon.ts";
import { BpfMaps, bpfObject, type MapChange } from "./bpf-maps.ts";

/** The maps that are filled from here, in the order that numbers them (balancer.cc), with the sizes of balancer.bpf.c's keys and values in bytes. */
export const balancerMaps = {
  networks_of: { number: 0, keySize: 8, valueSize: 40 },
  services: { number: 1, keySize: 20, valueSize: 8 },
  slots: { number: 2, keySize: 24, valueSize: 16 },
  sticky: { number: 3, keySize: 32, valueSize: 16 },
} as const;

export type BalancerMap = keyof typeof balancerMaps;
export type BalancerChange = MapChange<BalancerMap>;

/**
 * Programs at a control group of cgroup v2 that make TCP connections of the tasks below it to virtual IPs to services' tasks instead
 * (balancer.bpf.c). They and their maps outlive the process; a later one with the same node id finds the maps as they were.
 */
export class Balancer {
  readonly #number: number;
  readonly maps: BpfMaps<BalancerMap>;

  private constructor(number: number) {
    this.#number = number;
    this.maps = new BpfMaps(number, balancerMaps);
  }

  /** Rejects where the kernel, libbpf or the group does not allow it. */
  static async open(cgroup: string, nodeId: string): Promise<Balancer> {
    return new Balancer(await addon().openBalancer(bpfObject("balancer"), cgroup, nodeId));
  }

  /** Takes away what a former process with that node id left at the group. Rejects where the kernel does not allow to look. */
  static async remove(cgroup: string, nodeId: string): Promise<void> {
    await addon().removeBalancer(cgroup, nodeId);
  }

  /** Whether every program is still at the control group. */
  get isAttached(): boolean {
    return addon().isBalancerAttached(this.#number);
  }

  /** Ends this process's hold; `detach` takes the programs away, too. */
  close(options: { readonly detach: boolean }): void {
    try {
      if (options.detach) addon().detachBalancer(this.#number);
    } finally {
      addon().closePrograms(this.#number);
    }
  }
}

/** What names the network namespace of a socket in `networks_of`; throws before kernel 5.14. */
export const netnsCookie = (socket: number): bigint => addon().netnsCookie(socket);
