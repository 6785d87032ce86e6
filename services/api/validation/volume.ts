/** Pure: no clock, no I/O, no randomness. */

import type { VolumeSpec } from "../gen/messages.js";
import { validateAnnotations } from "./annotations.ts";
import { refuse, required } from "./refuse.ts";

export function validateVolumeSpec(spec: VolumeSpec | undefined): VolumeSpec {
  const volume = required(spec, "volume spec");
  if (!volume.driver || volume.driver.name === "") refuse("volume: driver must be specified");
  validateAnnotations(volume.annotations);
  if (!volume.accessMode) refuse("volume: access mode must be provided");
  if (!volume.accessMode.mount && !volume.accessMode.block) {
    refuse("volume: access mode must specify either Mount or Block access type");
  }
  return volume;
}
