/** Pure: no clock, no I/O, no randomness. */

import { SwarmError } from "@starling/base/errors";

/** An image reference with the defaults of the Docker ecosystem filled in. */
export interface ImageReference {
  /** Registry host with optional port: `docker.io`, `10.0.0.2:5000`. */
  readonly domain: string;
  /** Repository within the registry: `library/nginx`. */
  readonly path: string;
  /** Empty when the reference names none; pulling then means `latest` unless a digest is given. */
  readonly tag: string;
  /** `sha256:…`, or empty. */
  readonly digest: string;
}

const domainPattern =
  /^(?:(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*|\[[A-Fa-f0-9:]+\])(?::[0-9]+)?$/;
const componentPattern = /^[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*$/;
const tagPattern = /^\w[\w.-]{0,127}$/;
const digestPattern = /^[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}$/;
const nameLengthMax = 255;

/** `reference` with the digest that its tag names: `web` → `web:latest@sha256:…`. One that has a digest stays. */
export function pinnedReference(reference: string, digest: string): string {
  const parsed = parseImageReference(reference);
  if (parsed.digest !== "") return reference;
  return `${reference}${parsed.tag === "" ? ":latest" : ""}@${digest}`;
}

/** Whether `reference` names its content by digest, which no registry can change the meaning of. */
export function isPinned(reference: string): boolean {
  return reference.includes("@");
}

/**
 * Reads `[domain/]path[:tag][@digest]`, the grammar of distribution/reference. A first part without `.` or `:` that is
 * not `localhost` belongs to the path on docker.io; single names there live under `library/`.
 *
 * Throws SwarmError InvalidArgument, naming the reference and what is wrong with it.
 */
export function parseImageReference(reference: string): ImageReference {
  const refuse = (why: string): never => {
    throw new SwarmError("InvalidArgument", `ContainerSpec: "${reference}" is not a valid repository/tag: ${why}`);
  };
  if (/^[a-f0-9]{64}$/.test(reference)) refuse("a bare image id cannot be pulled; name a repository");
  const at = reference.indexOf("@");
  const digest = at < 0 ? "" : reference.slice(at + 1);
  if (at >= 0 && !digestPattern.test(digest)) refuse("the digest must look like sha256:<64 hexadecimal digits>");
  const named = at < 0 ? reference : reference.slice(0, at);
  const colon = named.lastIndexOf(":");
  const hasTag = colon > named.lastIndexOf("/");
  const tag = hasTag ? named.slice(colon + 1) : "";
  if (hasTag && !tagPattern.test(tag)) refuse("the tag must be 1 to 128 letters, digits, '_', '.' or '-'");
  const name = hasTag ? named.slice(0, colon) : named;
  const slash = name.indexOf("/");
  const first = slash < 0 ? "" : name.slice(0, slash);
  const hasDomain = first !== "" && (/[.:]/.test(first) || first === "localhost" || first !== first.toLowerCase());
  const domain = hasDomain ? first : "docker.io";
  if (!domainPattern.test(domain)) refuse(`"${domain}" is not a registry host`);
  const rest = hasDomain ? name.slice(slash + 1) : name;
  if (rest !== rest.toLowerCase()) refuse("the repository name must be lowercase");
  if (!rest.split("/").every((component) => componentPattern.test(component))) {
    refuse("each part of the repository name must be lowercase letters and digits, joined by '.', '_' or '-'");
  }
  const path = domain === "docker.io" && !rest.includes("/") ? `library/${rest}` : rest;
  if (domain.length + 1 + path.length > nameLengthMax) refuse(`the name is longer than ${nameLengthMax} characters`);
  return { domain, path, tag, digest };
}
