import { readFileSync } from "node:fs";
import type { Task } from "@starling/api";
import { FatalTaskError, TemporaryError } from "../exec/controller.ts";
import type { NetnsRef } from "../exec/network-attacher.ts";
import type { Attachment } from "./attachment.ts";
import { type LocalTask, overlayMtu } from "./desired.ts";
import type { HostApplier } from "./host-applier.ts";
import { LocalAddresses } from "./local-addresses.ts";
import { routedOf } from "./names.ts";
import { underlayOf } from "./observe.ts";
import { hostParent } from "./parents.ts";
import type { NetworkView } from "./state.ts";
import { interfacesOf } from "./task-interfaces.ts";
import { TaskNetwork } from "./task-network.ts";

/** Works out what a task's networks are on this host: its addresses here, its devices and what these are on. */
export class TaskOpener {
  readonly #applier: HostApplier;
  readonly #netns: string | undefined;
  readonly #ipv6: boolean;
  readonly #addresses = new LocalAddresses();
  #claimed = false;

  /** `netns` is the host's network namespace; undefined: the process's own. */
  constructor(options: { readonly applier: HostApplier; readonly netns: string | undefined; readonly ipv6: boolean }) {
    this.#applier = options.applier;
    this.#netns = options.netns;
    this.#ipv6 = options.ipv6;
  }

  /** Throws FatalTaskError when the host lacks a device, TemporaryError when no address is free. `release` frees the address. */
  async open(
    task: Task,
    options: {
      readonly attachment: Attachment;
      readonly netns: NetnsRef;
      readonly view: NetworkView;
      readonly nodeId: string;
    },
  ): Promise<TaskNetwork> {
    const { attachment, netns, view, nodeId } = options;
    const parents = await this.#parents(attachment);
    const underlay = underlayOf(await this.#applier.observation(), view.nodes.get(nodeId));
    const routed = attachment.wayOut ? (attachment.ingressAddress ?? (await this.#address(task.id))) : undefined;
    const local: LocalTask = {
      taskId: task.id,
      serviceId: task.serviceId,
      overlays: attachment.overlays.map(({ networkId, cidr, cidr6 = "" }) => ({
        networkId,
        address: cidr.split("/")[0]!,
        address6: cidr6.split("/")[0]!,
      })),
      routed,
      inMesh: routed !== undefined && routed === attachment.ingressAddress,
      hostPorts: attachment.hostPorts,
    };
    const interfaces = interfacesOf(task.id, attachment, {
      routed,
      ipv6: this.#ipv6,
      routedMtu: underlay.mtu,
      overlayMtu: (networkId) => overlayMtu(view.networks.get(networkId)!, underlay),
      parents,
    });
    return new TaskNetwork({
      netnsPath: netns.path,
      shim: parentOf(netns.pid),
      hostNetns: this.#netns,
      local,
      attachment,
      interfaces,
    });
  }

  /** Frees the address that only this host knows, if the task has one. */
  release(local: LocalTask | undefined): void {
    if (local?.routed !== undefined && !local.inMesh) this.#addresses.free(local.routed);
  }

  /** The host's devices that the task's networks have as parents, by network; VLANs are made. */
  async #parents({ overlays }: Attachment): Promise<ReadonlyMap<string, { index: number; mtu: number }>> {
    const found = new Map<string, { index: number; mtu: number }>();
    for (const { networkId, networkName, parent } of overlays) {
      if (parent === undefined) continue;
      const choice = await hostParent(parent.parents, this.#netns);
      if (choice.kind === "missing") throw new FatalTaskError(`network ${networkName}: ${choice.reason}`);
      found.set(networkId, choice);
    }
    return found;
  }

  /** The address that the task had before a restart, or a new one. */
  async #address(taskId: string): Promise<string> {
    const { routed } = await this.#applier.observation();
    if (!this.#claimed) {
      this.#claimed = true;
      for (const { address } of routed) if (this.#addresses.contains(address)) this.#addresses.claim(address);
    }
    const known = routed.find(({ device }) => device === routedOf(taskId))?.address;
    if (known !== undefined && this.#addresses.contains(known)) return known;
    const address = this.#addresses.take();
    if (address === undefined) throw new TemporaryError("network: no address is free for the task's way out");
    return address;
  }
}

/** The process that started the one with the pid: the shim of a container's init. Undefined when there is none. */
function parentOf(pid: number): number | undefined {
  try {
    const status = readFileSync(`/proc/${pid}/status`, "utf8");
    return Number(/^PPid:\s+([1-9]\d*)$/m.exec(status)?.[1]) || undefined;
  } catch {
    // It has ended: whoever waits for it hears of it.
    return undefined;
  }
}
