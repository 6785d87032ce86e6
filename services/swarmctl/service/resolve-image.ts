/** Pure: no clock, no I/O, no randomness. */

import {
  isPinned,
  Placement,
  pinnedReference,
  resolveImageMetadata,
  type Service,
  type ServiceSpec,
  sameValue,
} from "@starling/api";

export interface ResolveFlags {
  /** False with `--no-resolve-image`. */
  readonly resolveImage?: boolean;
}

export const resolveFlags = [
  { flags: "--no-resolve-image", help: "Do not ask the registry for the image's digest and platforms" },
] as const;

/** Metadata of a call that creates or updates a service. */
export function resolveMetadata({ resolveImage }: ResolveFlags): Readonly<Record<string, string>> {
  return resolveImage === false ? { [resolveImageMetadata]: "false" } : {};
}

/** `stored` before a manager put the image's digest and platforms into it, if it is what `sent` became by that. */
export function asSent(stored: ServiceSpec, sent: ServiceSpec): ServiceSpec {
  const [image, given] = [stored.task.container?.image ?? "", sent.task.container?.image ?? ""];
  const digest = image.slice(image.indexOf("@") + 1);
  if (!isPinned(image) || given === "" || pinnedReference(given, digest) !== image) return stored;
  const { container, placement } = stored.task;
  const before = placement && Placement.create({ ...placement, platforms: sent.task.placement?.platforms ?? [] });
  const hadNone = sent.task.placement === undefined && sameValue(before, Placement.create());
  return {
    ...stored,
    task: {
      ...stored.task,
      container: container && { ...container, image: given },
      placement: hadNone ? undefined : before,
    },
  };
}

/** What is to be said when the image is as it was asked for, without a digest; empty when there is nothing to say. */
export function digestWarning(service: Service, { resolveImage }: ResolveFlags): string {
  const image = service.spec.task.container?.image ?? "";
  if (resolveImage === false || image === "" || isPinned(image)) return "";
  return `Warning: image ${image} could not be accessed on a registry to record its digest. Each node will access ${image} independently, possibly leading to different nodes running different versions of the image.\n`;
}
