import type { Metadata } from "@grpc/grpc-js";
import { SwarmError } from "@starling/base";
import { anonymous, type Caller } from "./types.ts";

/** Role names are the OUs of Swarm's certificates. */
export const managerRole = "swarm-manager";
export const workerRole = "swarm-worker";

/** What of a peer's certificate counts (the fields of node:tls PeerCertificate). */
export interface PeerSubject {
  readonly CN?: string | readonly string[];
  readonly OU?: string | readonly string[];
  readonly O?: string | readonly string[];
}

/** The caller that a verified certificate names; anonymous when there is none. */
export function callerFromSubject(subject: PeerSubject | undefined): Caller {
  if (subject === undefined) return anonymous;
  const nodeId = first(subject.CN);
  const organization = first(subject.O);
  if (nodeId === "" || organization === "") return anonymous;
  return { nodeId, roles: list(subject.OU), organization, forwarded: false };
}

/**
 * The caller on whose behalf a manager relays: metadata `forwarded_cert*` as Swarm sends it. Only a manager of this
 * cluster may speak for others.
 */
export function forwardedCaller(direct: Caller, metadata: Metadata, organization: string): Caller {
  if (text(metadata, "forwarded_cert")[0] !== "true") return direct;
  if (!direct.roles.includes(managerRole) || direct.organization !== organization) {
    throw new SwarmError("PermissionDenied", "only a manager of this cluster may forward a call");
  }
  return {
    nodeId: text(metadata, "forwarded_cert_cn")[0] ?? "",
    roles: text(metadata, "forwarded_cert_ou"),
    organization: text(metadata, "forwarded_cert_org")[0] ?? "",
    forwarded: true,
  };
}

/** Adds to `metadata` what the leader needs to know of a relayed call's origin. */
export function addForwarded(metadata: Metadata, caller: Caller, remoteAddress: string, ownAddress: string): void {
  metadata.set("redirect", ownAddress);
  if (remoteAddress !== "") metadata.set("remote_addr", remoteAddress);
  metadata.set("forwarded_cert", "true");
  metadata.set("forwarded_cert_cn", caller.nodeId);
  for (const role of caller.roles) metadata.add("forwarded_cert_ou", role);
  metadata.set("forwarded_cert_org", caller.organization);
}

/** Throws PermissionDenied unless the caller holds one of `roles` in this cluster. */
export function requireRole(caller: Caller, roles: readonly string[] | "any", organization: string): void {
  if (roles === "any") return;
  if (caller.nodeId === "") {
    throw new SwarmError("PermissionDenied", "this call needs a certificate of the cluster: join the cluster first");
  }
  if (caller.organization !== organization) {
    throw new SwarmError("PermissionDenied", `certificate is of another cluster (${caller.organization})`);
  }
  if (!caller.roles.some((role) => roles.includes(role))) {
    throw new SwarmError("PermissionDenied", `role ${caller.roles.join(",") || "none"} may not make this call`);
  }
}

function text(metadata: Metadata, key: string): string[] {
  return metadata.get(key).map(String);
}

function list(value: string | readonly string[] | undefined): readonly string[] {
  return value === undefined ? [] : typeof value === "string" ? [value] : value;
}

function first(value: string | readonly string[] | undefined): string {
  return list(value)[0] ?? "";
}
