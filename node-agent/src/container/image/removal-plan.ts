/** Pure: no clock, no I/O, no randomness. */

import { parseImageReference } from "@starling/api";
import { SwarmError } from "@starling/base/errors";

/** An image of this node as decisions about its removal see it. */
export interface ImageFacts {
  /** Digest of its manifest. */
  readonly digest: string;
  /** Digest of its config. */
  readonly id: string;
  readonly references: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
  /** Undefined: its config does not say. */
  readonly createdMs: number | undefined;
  readonly usedAtMs: number;
  readonly loaded: boolean;
  /** Tasks whose containers live or are being prepared, and those that have ended and are kept. */
  readonly running: readonly string[];
  readonly ended: readonly string[];
  /** A pull, load or save relies on it. */
  readonly pinned: boolean;
}

export interface RemovalPlan {
  readonly references: readonly string[];
  readonly digests: readonly string[];
}

export interface PruneFilter {
  readonly all: boolean;
  readonly untilMs: number | undefined;
  /** `KEY` or `KEY=VALUE`. */
  readonly labels: readonly string[];
  readonly withoutLabels: readonly string[];
}

/** `name:tag` of a reference, its digest left out; names are compared so. */
export function nameAndTag(reference: string): string {
  const at = reference.indexOf("@");
  const name = at < 0 ? reference : reference.slice(0, at);
  return name.lastIndexOf(":") > name.lastIndexOf("/") ? name : at < 0 ? `${name}:latest` : name;
}

/** The images that a word names: by reference, else by the beginning of an id or manifest digest. */
export function imagesNamed<I extends ImageFacts>(images: readonly I[], word: string): readonly I[] {
  const named = images.filter(({ references }) => references.some((reference) => isNamed(reference, word)));
  if (named.length > 0) return named;
  const hex = /^(?:sha256:)?([0-9a-f]{4,64})$/.exec(word)?.[1];
  const starts = (digest: string) => hex !== undefined && digest.startsWith(`sha256:${hex}`);
  return images.filter(({ id, digest }) => starts(id) || starts(digest));
}

/** What removing the image that `word` names takes away. Throws NotFound, or FailedPrecondition saying what stands against it. */
export function planRemoval(
  images: readonly ImageFacts[],
  word: string,
  options: { readonly force: boolean },
): RemovalPlan {
  const found = imagesNamed(images, word);
  if (found.length === 0) throw new SwarmError("NotFound", `no such image: ${word}`);
  if (found.length > 1) {
    const ids = found.map(({ id }) => id).join(", ");
    throw new SwarmError("FailedPrecondition", `image ${word} is ambiguous: give the id of one of ${ids}`);
  }
  const image = found[0]!;
  const named = image.references.filter((reference) => isNamed(reference, word));
  const others = image.references.filter((reference) => !named.includes(reference));
  if (named.length > 0 && others.length > 0) return { references: named, digests: [] };
  const names = [...new Set(image.references.map(nameAndTag))];
  if (named.length === 0 && names.length > 1 && !options.force) {
    throw new SwarmError("FailedPrecondition", `image ${word} has several names (${names.join(", ")}): use --force`);
  }
  refuseUsed(image, word, options.force);
  return { references: image.references, digests: [image.digest] };
}

function refuseUsed(image: ImageFacts, word: string, force: boolean): void {
  const { running, ended } = image;
  if (running.length > 0) {
    const remedy = "remove or scale down its service first";
    throw new SwarmError("FailedPrecondition", `image ${word} is in use by ${tasks(running)}: ${remedy}`);
  }
  if (image.pinned) {
    throw new SwarmError("FailedPrecondition", `image ${word} is being pulled, loaded or saved: try again`);
  }
  if (ended.length > 0 && !force) {
    throw new SwarmError("FailedPrecondition", `image ${word} was used by ${tasks(ended)}, ended: use --force`);
  }
}

function tasks(names: readonly string[]): string {
  const more = names.length > 3 ? ` and ${names.length - 3} more` : "";
  return `${names.length === 1 ? "task" : "tasks"} ${names.slice(0, 3).join(", ")}${more}`;
}

/** What no task uses: images without a name, or with `all` any. */
export function planPrune(images: readonly ImageFacts[], filter: PruneFilter): RemovalPlan {
  const pruned = images.filter(
    (image) =>
      isFree(image) &&
      (filter.all || image.references.length === 0) &&
      (filter.untilMs === undefined || (image.createdMs !== undefined && image.createdMs < filter.untilMs)) &&
      filter.labels.every((label) => hasLabel(image.labels, label)) &&
      !filter.withoutLabels.some((label) => hasLabel(image.labels, label)),
  );
  return planOf(pruned);
}

/** Images that have not been wanted since `beforeMs`. What came in an archive stays: no registry could give it back. */
export function planByAge(images: readonly ImageFacts[], beforeMs: number): RemovalPlan {
  return planOf(images.filter((image) => isCollectable(image) && image.usedAtMs < beforeMs));
}

/** The image that goes first to make room: the one not wanted for longest, since before `beforeMs`. */
export function planForRoom(images: readonly ImageFacts[], beforeMs: number): RemovalPlan {
  const oldest = images
    .filter((image) => isCollectable(image) && image.usedAtMs < beforeMs)
    .toSorted((a, b) => a.usedAtMs - b.usedAtMs);
  return planOf(oldest.slice(0, 1));
}

function isFree({ running, pinned }: ImageFacts): boolean {
  return running.length === 0 && !pinned;
}

function isCollectable(image: ImageFacts): boolean {
  return isFree(image) && !image.loaded;
}

function planOf(images: readonly ImageFacts[]): RemovalPlan {
  return {
    references: images.flatMap(({ references }) => references),
    digests: images.map(({ digest }) => digest),
  };
}

function hasLabel(labels: Readonly<Record<string, string>>, label: string): boolean {
  const [key = "", value] = label.split(/=(.*)/s);
  return Object.hasOwn(labels, key) && (value === undefined || labels[key] === value);
}

/** A whole reference, or one without its digest, or as a user may write it (`nginx`, `docker.io/library/nginx:latest`). */
function isNamed(reference: string, word: string): boolean {
  if (reference === word) return true;
  try {
    const [own, wanted] = [parseImageReference(reference), parseImageReference(word)];
    if (own.domain !== wanted.domain || own.path !== wanted.path) return false;
    if (wanted.digest !== "" && own.digest !== wanted.digest) return false;
    if (wanted.digest !== "" && wanted.tag === "") return true;
    return (own.tag || (own.digest === "" ? "latest" : "")) === (wanted.tag || "latest");
  } catch {
    // A word that is no reference may be an id.
    return false;
  }
}
