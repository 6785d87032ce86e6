/** Pure: no clock, no I/O, no randomness. */

import { isPinned, Placement, Platform, pinnedReference, type ServiceSpec, sameValue } from "@starling/api";

/** What a registry says of an image. */
export interface ResolvedImage {
  readonly digest: string;
  readonly platforms: readonly { readonly os: string; readonly architecture: string }[];
}

/**
 * The image that a registry has to be asked about before `spec` replaces `present` (undefined: a new service); undefined when
 * there is nothing to ask: the image stays and no restart is forced, or digest and platforms are there.
 */
export function imageToResolve(spec: ServiceSpec, present: ServiceSpec | undefined): string | undefined {
  const image = spec.task.container?.image;
  if (image === undefined || image === "") return undefined;
  const isNew = image !== present?.task.container?.image || spec.task.forceUpdate !== present.task.forceUpdate;
  if (!isNew) return undefined;
  const isComplete = isPinned(image) && (spec.task.placement?.platforms.length ?? 0) > 0;
  return isComplete && !hasPlatformsOfAnother(spec, present) ? undefined : image;
}

/** `spec` with the image's digest and platforms. */
export function withResolvedImage(spec: ServiceSpec, { digest, platforms }: ResolvedImage): ServiceSpec {
  const { container } = spec.task;
  if (container === undefined) return spec;
  const seen = new Map(
    platforms.map(({ os, architecture }) => [`${os}/${architecture}`, platformOf(os, architecture)]),
  );
  const pinned = { ...container, image: pinnedReference(container.image, digest) };
  return withPlatforms({ ...spec, task: { ...spec.task, container: pinned } }, [...seen.values()]);
}

/** `spec` as it goes on when nobody could be asked: what was known of another image's platforms is dropped. */
export function withUnresolvedImage(spec: ServiceSpec, present: ServiceSpec | undefined): ServiceSpec {
  return hasPlatformsOfAnother(spec, present) ? withPlatforms(spec, []) : spec;
}

/** The platforms were carried over from the service's present image, which is another. */
function hasPlatformsOfAnother(spec: ServiceSpec, present: ServiceSpec | undefined): boolean {
  const platforms = spec.task.placement?.platforms ?? [];
  if (present === undefined || platforms.length === 0) return false;
  const isSame = spec.task.container?.image === present.task.container?.image;
  return !isSame && sameValue(platforms, present.task.placement?.platforms);
}

function withPlatforms(spec: ServiceSpec, platforms: readonly Platform[]): ServiceSpec {
  const { placement } = spec.task;
  if (placement === undefined && platforms.length === 0) return spec;
  return { ...spec, task: { ...spec.task, placement: Placement.create({ ...placement, platforms }) } };
}

/** Images of arm name a variant apart where nodes say `armv7l`: as Docker does, any architecture will do then. */
function platformOf(os: string, architecture: string): Platform {
  return Platform.create({ os, architecture: architecture === "arm" ? "" : architecture });
}
