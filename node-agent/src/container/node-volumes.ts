import { lstat, readdir } from "node:fs/promises";
import { join } from "node:path";
import { NodeVolume, type NodeVolumes, RemovedNodeVolumes, timestampOfMs } from "@starling/api";
import { SwarmError } from "@starling/base";
import type { NodeHandlers } from "../calls/node-service.ts";
import { isVolumeName, type LocalVolume, type VolumeStore } from "./volumes.ts";

export interface NodeVolumesContext {
  readonly volumes: VolumeStore;
  /** Names of the tasks whose containers have a volume mounted, by the volume's name. */
  users(): Promise<ReadonlyMap<string, readonly string[]>>;
  /** Resolves when the node's folders are there. */
  open(): Promise<void>;
}

/** Answers `starling.v1.NodeVolumes`, which managers ask of this node. */
export function nodeVolumesHandlers({ volumes, users, open }: NodeVolumesContext): NodeHandlers<typeof NodeVolumes> {
  /** Who has it mounted, bytes when it is gone, or undefined when there is none. */
  const remove = async (
    name: string,
  ): Promise<{ readonly usedBy: readonly string[]; readonly bytes: number } | undefined> => {
    if (!isVolumeName(name)) return undefined;
    let usedBy: readonly string[] = [];
    const bytes = await sizeOf(volumes.dataFolder(name));
    const isGone = await volumes.remove(name, async () => {
      usedBy = (await users()).get(name) ?? [];
      return usedBy.length > 0;
    });
    return isGone || usedBy.length > 0 ? { usedBy, bytes } : undefined;
  };
  return {
    async *list({ names }) {
      await open();
      const [all, usedBy] = await Promise.all([volumes.list(), users()]);
      for (const volume of all) {
        if (names.length === 0 || names.includes(volume.name)) yield describe(volume, usedBy.get(volume.name) ?? []);
      }
    },
    async remove({ name }) {
      await open();
      const outcome = await remove(name);
      if (outcome === undefined) throw new SwarmError("NotFound", `no such volume: ${name}`);
      const { usedBy, bytes } = outcome;
      if (usedBy.length === 0) return RemovedNodeVolumes.create({ names: [name], freedBytes: bytes });
      throw new SwarmError(
        "FailedPrecondition",
        `volume ${name} is in use by ${usedBy.join(", ")}: remove or stop that first`,
      );
    },
    async prune(request) {
      await open();
      const names: string[] = [];
      let freedBytes = 0;
      for (const { name, anonymous, labels } of await volumes.list()) {
        if (!(anonymous || request.all) || !passes(labels, request)) continue;
        const outcome = await remove(name);
        if (outcome === undefined || outcome.usedBy.length > 0) continue;
        names.push(name);
        freedBytes += outcome.bytes;
      }
      return RemovedNodeVolumes.create({ names, freedBytes });
    },
  };
}

function describe(volume: LocalVolume, usedBy: readonly string[]): NodeVolume {
  const { name, mountpoint, createdAtMs, labels, options, anonymous } = volume;
  const created = createdAtMs === 0 ? undefined : timestampOfMs(createdAtMs);
  return NodeVolume.create({ name, mountpoint, created, labels, options, anonymous, usedBy });
}

function passes(
  labels: Readonly<Record<string, string>>,
  wanted: { readonly labels: readonly string[]; readonly withoutLabels: readonly string[] },
): boolean {
  const has = (label: string) => {
    const [key = "", value] = label.split(/=(.*)/s);
    return Object.hasOwn(labels, key) && (value === undefined || labels[key] === value);
  };
  return wanted.labels.every(has) && !wanted.withoutLabels.some(has);
}

/** Of stat(2). */
const blockBytes = 512;

/** Bytes on the disk of all that is below a folder; what vanishes meanwhile, or is not there, has none. */
async function sizeOf(folder: string): Promise<number> {
  let bytes = 0;
  for (const entry of await readdir(folder, { withFileTypes: true }).catch(() => [])) {
    const path = join(folder, entry.name);
    const { blocks } = (await lstat(path).catch(() => undefined)) ?? { blocks: 0 };
    bytes += blocks * blockBytes + (entry.isDirectory() ? await sizeOf(path) : 0);
  }
  return bytes;
}
