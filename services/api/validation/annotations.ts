/** Pure: no clock, no I/O, no randomness. */

import type { Annotations } from "../gen/messages.js";
import { refuse } from "./refuse.ts";

const dnsName = /^[A-Za-z0-9](?:[A-Za-z0-9_-]*[A-Za-z0-9])?$/;
const dnsNameLengthMax = 63;
const fileName = /^[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?$/;
const fileNameLengthMax = 64;

/** Names that containers look up: services, networks, volumes. */
export function validateAnnotations(annotations: Annotations): void {
  const { name } = annotations;
  if (name === "") refuse("meta: name must be provided");
  if (name.length > dnsNameLengthMax) {
    refuse(`name must be ${dnsNameLengthMax} characters or fewer: "${name}" has ${name.length}`);
  }
  if (!dnsName.test(name)) {
    refuse(
      `name must be valid as a DNS name component: "${name}" may hold letters, digits, '-' and '_' only and must start and end with a letter or digit`,
    );
  }
}

/** Names that become files: secrets and configs. */
export function validateFileObjectAnnotations(annotations: Annotations): void {
  const { name } = annotations;
  if (name === "") refuse("name must be provided");
  if (name.length > fileNameLengthMax || !fileName.test(name)) {
    refuse(
      `invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, and the start and end character must be [a-zA-Z0-9]: "${name}"`,
    );
  }
}
