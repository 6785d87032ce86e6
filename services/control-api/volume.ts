import {
  type Control,
  CreateVolumeResponse,
  GetVolumeResponse,
  ListVolumesResponse,
  RemoveVolumeResponse,
  sameValue,
  UpdateVolumeResponse,
  Volume,
  type VolumeSpec,
} from "@starling/api";
import type { Handlers } from "@starling/api/rpc";
import { refuse, required, validateVolumeSpec } from "@starling/api/validation";
import { newId, SwarmError } from "@starling/base";
import { byName } from "@starling/store";
import { candidates } from "./candidates.ts";
import type { ControlDeps } from "./deps.ts";
import { found, listed, nameTaken } from "./errors.ts";
import { isAmong, passesEach } from "./filters.ts";

type VolumeMethods = "getVolume" | "listVolumes" | "createVolume" | "updateVolume" | "removeVolume";

/** Cluster volumes (CSI). The objects are kept; no driver is spoken to yet. */
export function volumeHandlers({ store, log }: ControlDeps): Pick<Handlers<typeof Control>, VolumeMethods> {
  return {
    async getVolume({ volumeId }) {
      required(volumeId, "volume ID");
      const volume = found(await store.read((tx) => tx.volumes.get(volumeId)), "volume", volumeId);
      return GetVolumeResponse.create({ volume });
    },

    async listVolumes({ filters }) {
      const volumes = await store.read((tx) => tx.volumes.find(candidates(filters)));
      return ListVolumesResponse.create({
        volumes: volumes.filter(
          ({ id, spec }) =>
            passesEach(filters, { id, name: spec.annotations.name, labels: spec.annotations.labels }) &&
            isAmong(spec.group, filters?.groups ?? []) &&
            isAmong(spec.driver?.name ?? "", filters?.drivers ?? []),
        ),
      });
    },

    async createVolume(request) {
      const spec = validateVolumeSpec(request.spec);
      const volume = Volume.create({ id: newId(), spec });
      const created = await store.update((tx) => {
        const missing = spec.secrets.map(({ secret }) => secret).filter((id) => tx.secrets.get(id) === undefined);
        if (missing.length > 0) refuse(`${listed("secret", missing).replace(" ", " not found: ")}`);
        const { name } = spec.annotations;
        const holder = tx.volumes.find(byName(name))[0];
        if (holder) throw nameTaken("volume", name, holder.id);
        return tx.volumes.create(volume);
      });
      log.info("volume created", { "volume.id": volume.id, "volume.name": spec.annotations.name });
      return CreateVolumeResponse.create({ volume: created });
    },

    async updateVolume(request) {
      const { volumeId } = request;
      required(volumeId, "volume ID");
      const version = required(request.volumeVersion, "volume version");
      const spec = required(request.spec, "volume spec");
      const updated = await store.update((tx) => {
        const volume = found(tx.volumes.get(volumeId), "volume", volumeId);
        checkFixedFields(volume.spec, spec);
        const annotations = { ...volume.spec.annotations, labels: spec.annotations.labels };
        const next: Volume = {
          ...volume,
          meta: { ...volume.meta, version },
          spec: { ...volume.spec, annotations, availability: spec.availability },
        };
        return tx.volumes.update(next);
      });
      return UpdateVolumeResponse.create({ volume: updated });
    },

    /** Marks the volume; it goes once its driver has let go of it. Forced: the object goes at once. */
    async removeVolume({ volumeId, force }) {
      required(volumeId, "volume ID");
      await store.update((tx) => {
        const volume = found(tx.volumes.get(volumeId), "volume", volumeId);
        if (force) return tx.volumes.delete(volumeId);
        if (volume.publishStatus.length > 0) {
          throw new SwarmError("FailedPrecondition", "volume is still in use: drain it first, or force the removal");
        }
        tx.volumes.update({ ...volume, pendingDelete: true });
      });
      return RemoveVolumeResponse.create();
    },
  };
}

/** Labels and availability may change, nothing else. */
function checkFixedFields(present: VolumeSpec, wanted: VolumeSpec): void {
  const fixed: readonly [string, (spec: VolumeSpec) => unknown][] = [
    ["Name", (spec) => spec.annotations.name],
    ["Group", (spec) => spec.group],
    ["AccessibilityRequirements", (spec) => spec.accessibilityRequirements],
    ["Driver", (spec) => spec.driver],
    ["AccessMode", (spec) => spec.accessMode],
    ["Secrets", (spec) => spec.secrets],
    ["CapacityRange", (spec) => spec.capacityRange],
  ];
  for (const [field, of] of fixed) if (!sameValue(of(present), of(wanted))) refuse(`${field} cannot be updated`);
}
