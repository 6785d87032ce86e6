/** Pure: no clock, no I/O, no randomness. */
import {
  Annotations,
  Extension,
  type Mount,
  Mount_Type,
  Resource,
  runtimeOptionPrefix,
  type Task,
  VolumeHome,
} from "@starling/api";
import { byName, type ReadTx, type WriteTx } from "@starling/store";

/** The kind of the resources that hold them. */
export const volumeHomeKind = "starling.v1.VolumeHome";
const typeUrl = `type.googleapis.com/${volumeHomeKind}`;

/** File systems that are the same wherever they are mounted. */
const remoteTypes = new Set(["nfs", "nfs4", "cifs", "smb3", "ceph", "glusterfs", "9p"]);

/**
 * Named volumes that hold a task to the node of its slot: what they contain is there and nowhere else. None when the
 * service says that its tasks may begin anew elsewhere, or has no slots.
 */
export function nodeVolumesOf(task: Task): readonly string[] {
  const container = task.spec.container;
  if (container === undefined || container.mounts.length === 0 || task.slot === 0 || task.serviceId === "") return none;
  if (container.labels[`${runtimeOptionPrefix}volume-placement`] === "anywhere") return none;
  const names = container.mounts.filter(isOfNode).map(({ source }) => source);
  return names.length === 0 ? none : [...new Set(names)];
}

const none: readonly string[] = [];

function isOfNode({ type, source, volumeOptions }: Mount): boolean {
  if (type !== Mount_Type.VOLUME || source === "") return false;
  const { name = "", options = {} } = volumeOptions?.driverConfig ?? {};
  return (name === "" || name === "local") && !remoteTypes.has(options["type"] ?? "");
}

/** What is known of the slots' volumes; follows the store's resources. */
export class VolumeHomes {
  /** By the resource's id. */
  readonly #homes = new Map<string, VolumeHome>();

  /** Takes a resource's new state; of other kinds nothing. */
  set(resource: Resource): void {
    const home = volumeHomeOf(resource);
    if (home !== undefined) this.#homes.set(resource.id, home);
  }

  /** Notes what writeVolumeHome wrote with a task that has been placed, ahead of the resource's event. */
  placed(task: Task): void {
    if (task.nodeId === "" || task.slot === 0 || task.serviceId === "") return;
    const volumes = nodeVolumesOf(task);
    if (volumes.length === 0 && this.#homes.size === 0) return;
    const id = homeId(task.serviceId, task.slot);
    if (volumes.length === 0) this.#homes.delete(id);
    else this.#homes.set(id, homeOf(task, task.nodeId, volumes));
  }

  remove(resourceId: string): boolean {
    return this.#homes.delete(resourceId);
  }

  /** Whether `of` may name a node for tasks with this one's spec. */
  concern(task: Task | undefined): boolean {
    return task !== undefined && this.#homes.size > 0 && nodeVolumesOf({ ...task, slot: 1 }).length > 0;
  }

  /** Where the task has to run, and for which of its volumes; undefined when it may run anywhere. */
  of(task: Task): { readonly nodeId: string; readonly volume: string } | undefined {
    if (this.#homes.size === 0) return undefined;
    const home = this.#homes.get(homeId(task.serviceId, task.slot));
    const volume = home && nodeVolumesOf(task).find((name) => home.volumes.includes(name));
    return volume === undefined ? undefined : { nodeId: home!.nodeId, volume };
  }
}

/** Undefined for resources that are none, also for what cannot be read as one. */
export function volumeHomeOf({ kind, payload }: Resource): VolumeHome | undefined {
  if (kind !== volumeHomeKind || payload?.typeUrl !== typeUrl) return undefined;
  try {
    return VolumeHome.decode(payload.value);
  } catch {
    return undefined;
  }
}

/** Notes that a task, which is placed on the node now, has its volumes there; in the transaction that places it. */
export function writeVolumeHome(tx: WriteTx, task: Task, nodeId: string): void {
  if (task.serviceId === "" || task.slot === 0) return;
  if (tx.resources.size === 0 && nodeVolumesOf(task).length === 0) return;
  const id = homeId(task.serviceId, task.slot);
  const there = tx.resources.get(id);
  // Of a service that is being removed nothing is kept.
  const volumes = tx.services.get(task.serviceId) === undefined ? none : nodeVolumesOf(task);
  if (volumes.length === 0) {
    if (there !== undefined) tx.resources.delete(id);
    return;
  }
  const home = homeOf(task, nodeId, volumes);
  const payload = { typeUrl, value: VolumeHome.encode(home) };
  if (there !== undefined) {
    const old = volumeHomeOf(there);
    if (old?.nodeId === home.nodeId && String(old.volumes) === String(volumes)) return;
    tx.resources.update({ ...there, payload });
    return;
  }
  if (tx.extensions.find(byName(volumeHomeKind)).length === 0) tx.extensions.create(extension);
  tx.resources.create(
    Resource.create({ id, annotations: Annotations.create({ name: id }), kind: volumeHomeKind, payload }),
  );
}

function homeOf({ serviceId, slot }: Task, nodeId: string, volumes: readonly string[]): VolumeHome {
  return VolumeHome.create({ serviceId, slot, nodeId, volumes });
}

const extension = Extension.create({
  id: volumeHomeKind,
  annotations: Annotations.create({ name: volumeHomeKind }),
  description: "On which node the volumes of a service's slot are",
});

/** Ids of the homes whose services are gone. */
export function homelessIds(tx: ReadTx, resources: readonly Resource[]): readonly string[] {
  return resources
    .filter((resource) => {
      const home = volumeHomeOf(resource);
      return home !== undefined && tx.services.get(home.serviceId) === undefined;
    })
    .map(({ id }) => id);
}

function homeId(serviceId: string, slot: number): string {
  return `${volumeHomeKind}.${serviceId}.${slot}`;
}
